"""The last thing that a command said, as a note for those who watch the handoff."""

import re

from coordinator.agents.runner.profiles import Note

_LONGEST_LINE = 4096
_LONGEST_NOTE = 200
_LINES_HEARD = 20
"""Of what is read at once, the last so many."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


class LastLine:
    """Hears what is written on all streams, and tells what was said last."""

    def __init__(self) -> None:
        self._note: str | None = None
        self._told: str | None = None

    def take(self) -> str | None:
        """Return the latest note, if there is one that was not taken yet."""
        if self._note == self._told:
            return None
        self._told = self._note
        return self._note

    def hear(self, note: str | None) -> None:
        """Take a note, unless nothing in it can be shown."""
        if note is not None and (shown := _shown(note)):
            self._note = shown


class Stream:
    """One stream of a command, cut into lines; a line that does not end is kept by its end."""

    def __init__(self, last: LastLine, note: Note) -> None:
        self._last = last
        self._note = note
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        """Take what was read."""
        # A progress bar ends its lines with \r.
        lines = (self._rest + chunk).replace(b"\r", b"\n").rsplit(b"\n", _LINES_HEARD)
        self._rest = lines.pop()[-_LONGEST_LINE:]
        # What is before these lines is part of the first; nobody waits for it.
        for line in lines:
            whole = line.rpartition(b"\n")[2]
            if len(whole) < _LONGEST_LINE:
                self._last.hear(self._note(whole.decode(errors="replace")))


def _shown(note: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in _ESCAPE.sub("", note))
    return " ".join(plain.split())[:_LONGEST_NOTE]
