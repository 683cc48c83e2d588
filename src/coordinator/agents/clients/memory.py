"""How to go back: what was there before, kept for each file that `install` has changed.

A file that nobody has touched since is put back byte for byte. Of one that was touched since it is
still known which empty objects are the owner's, and whether the file was there at all. It lies in
the user's state folder, for this user alone: what was there before may be secret.
"""

import hashlib
from base64 import b64decode, b64encode
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from coordinator.agents.clients import plain


class Step(BaseModel):
    """One change of a file: the piece that was replaced, and what was made for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    was_there: bool
    digest: str
    """Of the file as the change left it."""
    offset: int
    old: str
    """The bytes that were replaced, in base64."""
    new_length: int
    made: tuple[plain.Path, ...]
    """The objects, arrays and rules that were not there."""
    folders: tuple[str, ...]
    """The folders that were not there, the innermost first."""

    @staticmethod
    def of(
        before: bytes | None,
        after: bytes,
        *,
        made: tuple[plain.Path, ...],
        folders: tuple[str, ...],
    ) -> "Step":
        """Return the step from one content to the other."""
        old = before or b""
        head = _common(old, after)
        tail = _common(old[head:][::-1], after[head:][::-1])
        return Step(
            was_there=before is not None,
            digest=_digest(after),
            offset=head,
            old=b64encode(old[head : len(old) - tail]).decode(),
            new_length=len(after) - head - tail,
            made=made,
            folders=folders,
        )

    def back(self, content: bytes) -> bytes | None:
        """Return what the content was before; None where there was no file."""
        if not self.was_there:
            return None
        end = self.offset + self.new_length
        return content[: self.offset] + b64decode(self.old) + content[end:]


class Memory(BaseModel):
    """The changes of one file, the oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    steps: tuple[Step, ...] = ()

    @property
    def made(self) -> frozenset[plain.Path] | None:
        """What was made in the file, by any step; None if nothing is known of it."""
        return frozenset(path for step in self.steps for path in step.made) if self.steps else None

    @property
    def made_if_known(self) -> frozenset[plain.Path]:
        """The same, with nothing for what is not known."""
        return self.made or frozenset()

    @property
    def made_the_file(self) -> bool:
        """Whether the file was not there, as far as is known."""
        return not all(step.was_there for step in self.steps) or not self.steps

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that were made, the innermost first."""
        made = {folder for step in self.steps for folder in step.folders}
        return tuple(sorted(made, key=len, reverse=True))

    def with_step(self, step: Step) -> "Memory":
        """Return the memory with one change more."""
        return Memory(path=self.path, steps=(*self.steps, step))

    def back(self, content: bytes) -> tuple[bytes | None, "Memory"]:
        """Go back as far as nobody else has changed the file; return what is left to undo."""
        steps = list(self.steps)
        found: bytes | None = content
        while steps and found is not None and steps[-1].digest == _digest(found):
            found = steps.pop().back(found)
        return found, Memory(path=self.path, steps=tuple(steps))


def place(folder: Path, path: Path) -> Path:
    """Return where the memory of a file is kept."""
    return folder / f"{_digest(str(path).encode())[:32]}.json"


def recalled(content: bytes | None, path: Path) -> Memory:
    """Read a memory; one that cannot be read counts as none."""
    try:
        return Memory.model_validate_json(content or b"{}")
    except ValidationError:
        return Memory(path=str(path))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _common(one: bytes, other: bytes) -> int:
    """The length of the beginning that both have."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
