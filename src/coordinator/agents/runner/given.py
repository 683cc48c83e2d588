"""What a wrapped command is given: a private file with the handoff, and an environment.

The environment is the runner's own without the coordinator's secrets. That keeps them out of logs,
of transcripts and of what a command hands on; against a command that means ill it helps little, as
long as both run as one user.
"""

import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator.core.model import Handoff
from coordinator.core.wrapped import WrappedVariable

_OURS = ("COORDINATOR_", "PG")
_SECRETS = {"DATABASE_URL", "CREDENTIALS_DIRECTORY"}
_LONGEST_PARENT = 70
_TRACE = {"TRACEPARENT", "TRACESTATE"}


@dataclass(frozen=True, slots=True)
class Given:
    """A handoff's private folder, which the keeper removes, and the file in it."""

    folder: Path

    @property
    def file(self) -> Path:
        """The whole handoff, as JSON."""
        return self.folder / "handoff.json"

    @property
    def socket(self) -> Path:
        """Where the runner's window is, if it has one."""
        return self.folder / "runner.sock"


def inherited(environ: Mapping[str, str], *, passed: Collection[str]) -> dict[str, str]:
    """Return what of the runner's environment a command gets; names in `passed` always."""
    return {
        name: value
        for name, value in environ.items()
        if name in passed or not (name.startswith(_OURS) or name in _SECRETS or name in _TRACE)
    }


def environment(
    own: Mapping[str, str], handoff: Handoff, *, agent: str, context_file: Path
) -> dict[str, str]:
    """Return a command's environment: `own`, and who asks for what."""
    trace = {"TRACEPARENT": handoff.traceparent} if handoff.traceparent else {}
    return {
        **own,
        WrappedVariable.AGENT.value: agent,
        WrappedVariable.HANDOFF_ID.value: str(handoff.id),
        WrappedVariable.ATTEMPT.value: str(handoff.attempt),
        WrappedVariable.CONTEXT_FILE.value: str(context_file),
        **trace,
    }


@contextmanager
def written(handoff: Handoff) -> Iterator[Given]:
    """Write the handoff into a file that only this user can read (0600 in a folder of 0700)."""
    # A socket's path has 107 bytes at most, on macOS 103.
    here = tempfile.gettempdir()
    parent = here if len(os.fsencode(here)) <= _LONGEST_PARENT else "/tmp"  # noqa: S108 - private
    with tempfile.TemporaryDirectory(
        prefix="handoff-", dir=parent, ignore_cleanup_errors=True
    ) as name:
        given = Given(Path(name))
        # What others wrote is plain JSON, of any depth; pydantic gives up at two hundred.
        free = {"context": handoff.context, "result": handoff.result}
        row = {**handoff.model_dump(mode="json", exclude=set(free)), **free}
        ordered = {column: row[column] for column in type(handoff).model_fields}
        document = json.dumps(ordered, ensure_ascii=False, indent=2)
        descriptor = os.open(given.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(document + "\n")
        yield given
