"""One file of a client: what it means, what it is to mean, and the change that makes it so."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from coordinator.agents.clients import json_text, plain, toml_text
from coordinator.agents.clients.files import Change, content, missing_folders
from coordinator.agents.clients.memory import Memory, Step, place, recalled
from coordinator.agents.clients.plain import Data, WrongShape
from coordinator.agents.clients.texts import Uneditable, Unreadable
from coordinator.core.errors import ConfigError

NOTHING_WRITTEN = "nothing was written"


class Deed(StrEnum):
    """What is done to a file."""

    CREATE = "create"
    ADD = "add to"
    UPDATE = "update"
    REMOVE = "remove from"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Planned:
    """One file's change, and that of the memory of it."""

    deed: Deed
    change: Change
    memory: Change
    before: Data
    after: Data
    """What the file means, and will mean."""
    edited: tuple[str, ...] = ()
    """What of ours in it was edited by hand."""
    folders: tuple[str, ...] = ()
    """What is to be removed afterwards, if it is empty."""


@dataclass(slots=True)
class Opened:
    """A file as it was found."""

    path: Path
    place: Path
    """Where its memory is kept."""
    content: bytes | None
    memory_content: bytes | None
    before: Data
    is_private: bool

    @staticmethod
    def at(path: Path, memories: Path, *, is_private: bool) -> "Opened":
        """Read a file and its memory; raise ConfigError where it cannot be read."""
        found = content(path)
        kept = place(memories, path)
        opened = Opened(path, kept, found, content(kept), {}, is_private)
        opened.before = opened._read(found)
        return opened

    @property
    def memory(self) -> Memory:
        """How to go back, as far as it is known."""
        return recalled(self.memory_content, self.path)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Within the block a file that the client would not read as we do is refused."""
        try:
            yield
        except WrongShape as wrong:
            raise ConfigError(
                f"{self.path} is not as its client reads it",
                str(wrong),
                f"Correct it, and try again: {NOTHING_WRITTEN}.",
            ) from None

    def become(
        self, after: Data, *, deed: Deed, husks: Sequence[plain.Path], by_hand: str
    ) -> Planned | None:
        """Plan that it means `after`; None if it does already.

        Of `husks` those that are left empty go, unless they were there before us. Where the text
        cannot be edited it raises ConfigError, with what to do `by_hand`.
        """
        after = self._tidy(after, husks, self.memory.made)
        if plain.same(after, self.before):
            return None
        new = self._rewritten(self.content, after, by_hand)
        made = (*plain.new_paths(self.before, after), *self.memory.made_if_known)
        folders = (*missing_folders(self.path), *missing_folders(self.place))
        step = Step.of(self.content, new, made=made, folders=folders)
        memory = self.memory.with_step(step).model_dump_json().encode()
        return Planned(
            Deed.CREATE if self.content is None else deed,
            Change(self.path, self.content, new, is_private=self.is_private),
            Change(self.place, self.memory_content, memory, is_private=True),
            self.before,
            self._read(new),
        )

    def go_back(
        self,
        without_ours: Callable[[Data], Data],
        *,
        husks: Sequence[plain.Path],
        frame: Data,
        edited: tuple[str, ...],
    ) -> Planned | None:
        """Plan that nothing of ours is in it; None if nothing is.

        Byte for byte where nobody else has changed it since, else by taking out what is ours.
        """
        if self.content is None or plain.same(without_ours(self.before), self.before):
            return None
        memory = self.memory
        old, rest = memory.back(self.content)
        if rest.steps or not memory.steps:
            old = self._taken_out(old, memory, without_ours, husks, frame)
        forgotten = Change(self.place, self.memory_content, None)
        return Planned(
            Deed.DELETE if old is None else Deed.REMOVE,
            Change(self.path, self.content, old),
            forgotten,
            self.before,
            self._read(old),
            edited,
            memory.folders,
        )

    def _taken_out(
        self,
        old: bytes | None,
        memory: Memory,
        without_ours: Callable[[Data], Data],
        husks: Sequence[plain.Path],
        frame: Data,
    ) -> bytes | None:
        before = self._read(old)
        left = self._tidy(without_ours(before), husks, memory.made, before)
        made_frame = memory.made is None or all((key,) in memory.made for key in frame)
        if frame and made_frame and plain.same(left, frame):
            left = {}
        new = self._rewritten(old, left, "Take out what runs `coordinator`.")
        is_bare = new.strip() in (b"", b"{}")
        return None if is_bare and memory.made_the_file else new

    def _tidy(
        self,
        after: Data,
        husks: Sequence[plain.Path],
        made: frozenset[plain.Path] | None,
        before: Data | None = None,
    ) -> Data:
        full = plain.filled(self.before if before is None else before, husks)
        ours = [path for path in full if made is None or path in made]
        return plain.without_husks(after, ours)

    def _read(self, found: bytes | None) -> Data:
        try:
            text = (found or b"").decode()
        except UnicodeDecodeError as error:
            raise self._refusal(f"it is not UTF-8, from byte {error.start} on") from None
        with self.refusing():
            try:
                return toml_text.read(text) if self._is_toml else json_text.read(text)
            except Unreadable as error:
                raise self._refusal(str(error)) from None

    def _rewritten(self, found: bytes | None, after: Data, by_hand: str) -> bytes:
        text = (found or b"").decode()
        try:
            rewritten = toml_text.rewritten if self._is_toml else json_text.rewritten
            return rewritten(text, after).encode()
        except Uneditable:
            raise ConfigError(
                f"{self.path} cannot be edited without touching what is not ours",
                "our table, or the one around it, is written inside another value",
                by_hand,
            ) from None

    @property
    def _is_toml(self) -> bool:
        return self.path.suffix == ".toml"

    def _refusal(self, why: str) -> ConfigError:
        kind = "TOML" if self._is_toml else "JSON"
        return ConfigError(
            f"{self.path} cannot be read as {kind}",
            why,
            f"Correct it, and try again: {NOTHING_WRITTEN}.",
        )
