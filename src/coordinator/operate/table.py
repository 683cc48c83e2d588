"""How facts are laid out for a person: columns, ages, moments, text that cannot harm a terminal."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

Paint: TypeAlias = Callable[[str, str], str]
"""Takes a text and the word that decides its colour, such as `failed`; returns the text to show."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def unpainted(text: str, _word: str) -> str:
    """Return the text as it is: a `Paint` without colour."""
    return text


def printable(text: str) -> str:
    """Return one line without control characters: an escape sequence must not reach a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shortened(text: str, width: int) -> str:
    """Return at most `width` characters of the text, printable, with a mark where it was cut."""
    shown = printable(text)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def shown_span(seconds: float | None) -> str:
    """Write a span of time for a person: `0.004 s`, `12 s`, `3 min`, `5 h`, `2 d`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    for limit, unit, word in ((_MINUTE, 1, "s"), (_HOUR, _MINUTE, "min"), (_DAY, _HOUR, "h")):
        if seconds < 2 * limit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / _DAY:.0f} d"


def shown_time(moment: datetime | None) -> str:
    """Write a moment in UTC, to the millisecond; `-` for None."""
    if moment is None:
        return "-"
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, paint: Paint = unpainted) -> str:
    """Lay rows out under a head; each cell is coloured by its own first word."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [_line(head, widths, unpainted), *(_line(row, widths, paint) for row in rows)]
    return "\n".join(lines)


def fields(told: Sequence[tuple[str, object]]) -> str:
    """Lay named facts out, one a line; those that are None or empty are left out."""
    shown = [(name, _fact(value)) for name, value in told if value not in (None, "")]
    width = max(len(name) for name, _ in shown)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown)


def _fact(value: object) -> str:
    return shown_time(value) if isinstance(value, datetime) else str(value)


def _line(cells: Sequence[str], widths: Sequence[int], paint: Paint) -> str:
    padded = [
        paint(cell, cell.partition(" ")[0]) + " " * (width - len(cell))
        for cell, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()
