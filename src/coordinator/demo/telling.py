"""What the demo says besides the daemon's log lines: to a person in words, else as JSON lines."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

from coordinator.telemetry.sink import LineSink

_PLAIN, _BOLD, _FAINT = "0", "1", "2"
_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "succeeded": "32",
        "failed": "31",
        "taken": "33",
        "taken_back": "33",
        "attempt": "33",
        "cancelled": "33",
        "in_progress": "36",
        "pending": "2",
    }
)


class Narrator:
    """Writes whole lines to one stream; a reader who has gone costs the lines, not the show."""

    def __init__(self, stream: TextIO, *, as_json: bool, color: bool) -> None:
        self._sink = LineSink(stream)
        self._as_json = as_json
        self._color = color

    def say(self, text: str, *, event: str, **fields: object) -> None:
        """Tell one step of the show; `event` and `fields` are what a program reads."""
        if self._as_json:
            self._write_json(event, {"message": text} | fields)
        else:
            self._sink.write(self._styled(f"── {text}", _BOLD))

    def speak(self, who: str, text: str) -> None:
        """Let an agent say what it does."""
        if self._as_json:
            self._write_json("demo.spoken", {"agent": who, "message": text})
        else:
            self._sink.write(f"{self._styled(f'{who:>14} │', _FAINT)} {text}")

    def show(self, text: str, *, event: str, **fields: object) -> None:
        """Show a table, a tree or a few lines to copy; a program gets `fields` alone."""
        if self._as_json:
            self._write_json(event, fields)
        else:
            self._sink.write(f"\n{text}\n")

    def paint(self, text: str, word: str) -> str:
        """Colour a text by the word that decides its colour."""
        return self._styled(text, _COLORS.get(word, _PLAIN))

    def _styled(self, text: str, style: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._color and style != _PLAIN else text

    def _write_json(self, event: str, fields: Mapping[str, object]) -> None:
        self._sink.write(json.dumps({"event": event, **fields}, default=str))
