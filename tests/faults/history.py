"""What the clients of a run saw, one note a line, written before the next step is taken.

A note of intent (`sending`, `finishing`, `cancelling`) stands before the call, so that a client
that is killed in between leaves a question, not a lie. A note of fact stands after the answer. The
clock is CLOCK_MONOTONIC, in nanoseconds, which all processes of a machine share.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

Saw = Literal[
    "sending",  # about to hand off; key, to_agent, and handoff_id where the client chooses it
    "acknowledged",  # the hand-off was committed: handoff_id
    "refused",  # the hand-off was refused and must not exist: sqlstate
    "accepted",  # the body of this attempt begins: handoff_id, attempt
    "finishing",  # about to settle this attempt: outcome
    "finished",  # the settlement was answered: verdict
    "stopped",  # the body was told to stop, or was refused: it no longer acts
    "cancelling",  # about to ask for a cancel
    "cancel_answered",  # verdict holds the answer
]


class Note(BaseModel):
    """One thing that one client saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client: str
    at: int
    saw: Saw
    handoff_id: UUID | None = None
    key: str | None = None
    to_agent: str | None = None
    priority: int = 0
    attempt: int | None = None
    outcome: Literal["succeeded", "failed"] | None = None
    verdict: str | None = None
    sqlstate: str | None = None


class Recorder:
    """Writes one client's notes; what is written survives a kill of the client."""

    def __init__(self, directory: Path, client: str) -> None:
        self.client = client
        # One file a process: a half-written last line must not spoil another's.
        self._file = (directory / f"{client}.{os.getpid()}.notes").open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def note(self, saw: Saw, **fields: Any) -> None:
        """Write down what was just seen, or is about to be done."""
        note = Note(client=self.client, at=time.monotonic_ns(), saw=saw, **fields)
        self._file.write(note.model_dump_json(exclude_defaults=True).encode() + b"\n")


def notes_in(directory: Path) -> list[Note]:
    """Return all clients' notes in the order of time; a half-written last line is left out."""
    return sorted(
        (note for file in directory.glob("*.notes") for note in _notes(file)),
        key=lambda note: note.at,
    )


def _notes(file: Path) -> Iterator[Note]:
    for line in file.read_bytes().split(b"\n")[:-1]:
        yield Note.model_validate_json(line)
