"""Where words and data go: data to stdout, words to stderr, colour only where it is wanted."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TextIO
from uuid import UUID

import click

BROKEN_PIPE = 141
"""The exit code of a command whose reader has gone, as a shell gives it for SIGPIPE."""

_COLORS = {
    "idle": "green",
    "succeeded": "green",
    "accepted": "cyan",
    "dispatched": "cyan",
    "in_progress": "cyan",
    "working": "cyan",
    "cancelled": "yellow",
    "cancelling": "yellow",
    "taken": "yellow",
    "taken_back": "yellow",
    "warning": "yellow",
    "attempt": "yellow",
    "attempt_failed": "yellow",
    "blocked": "red",
    "deleted": "red",
    "error": "red",
    "failed": "red",
}


def wants_color(stream: TextIO) -> bool:
    """Whether the stream is a terminal, and nobody has said NO_COLOR."""
    refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not refused


def goes_to_journal(stream: TextIO) -> bool:
    """Whether systemd's journal reads this stream; it has said which one it reads."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def paint(text: str, word: str) -> str:
    """Colour a text for stdout by a word such as `failed`."""
    color = _COLORS.get(word)
    return click.style(text, fg=color) if color and wants_color(sys.stdout) else text


def say(text: str) -> None:
    """Write data to stdout, a whole line at once."""
    try:
        click.echo(text, color=wants_color(sys.stdout))
    except BrokenPipeError:
        _abandon_stdout()
        raise SystemExit(BROKEN_PIPE) from None


def say_json(value: object, *, indent: int | None = 2) -> None:
    """Write one JSON document to stdout; without indent it is one line."""
    say(json.dumps(document(value), indent=indent))


def note(text: str) -> None:
    """Write words to stderr."""
    click.echo(text, err=True, color=wants_color(sys.stderr))


def alarm(text: str) -> None:
    """Write words to stderr that tell of an error, and mark them as one for the journal."""
    mark = "<3>" if goes_to_journal(sys.stderr) else ""
    note(mark + text.replace("\n", f"\n{mark}"))


def warn(text: str) -> None:
    """Write a warning to stderr."""
    note(f"{click.style('warning', fg='yellow')}: {text}")


def count(number: int, noun: str) -> str:
    """Write a number of things: `1 agent`, `2 agents`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def document(value: object) -> object:
    """Turn a value into what JSON knows; times are RFC 3339 in UTC."""
    if is_dataclass(value) and not isinstance(value, type):
        return document({field.name: getattr(value, field.name) for field in fields(value)})
    match value:
        case Mapping():
            return {str(key): document(item) for key, item in value.items()}
        case list() | tuple():
            return [document(item) for item in value]
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case UUID():
            return str(value)
        case _:
            return value


def _abandon_stdout() -> None:
    # The interpreter flushes stdout once more at exit, and would complain.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
