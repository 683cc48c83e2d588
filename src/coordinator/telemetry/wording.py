"""How an event becomes a line: plain values, no secrets, stable keys in a stable order."""

import json
import math
import re
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import structlog

_FIRST_KEYS = ("timestamp", "level", "event", "logger")
_MESSAGE_LIMIT = 500
_SECRETS = (
    (re.compile(r"(postgres(?:ql)?://[^\s:/@]*):\S*@"), r"\1:***@"),
    (re.compile(r"(password\s*=\s*)('[^']*'|[^\s&]+)", re.IGNORECASE), r"\1***"),
)

_Line = MutableMapping[str, Any]


_IDS = frozenset({"handoff_id", "parent_id"})
_NOT_FOR_A_PERSON = frozenset({"logger", "occurred_at", "root_id", "incarnation", "by_user"})


def json_processors() -> list[structlog.typing.Processor]:
    """Make one JSON object a line, in ASCII."""
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _plainly,
        _in_order,
        structlog.processors.JSONRenderer(json.dumps, allow_nan=False),
    ]


def pretty_processors(*, color: bool) -> list[structlog.typing.Processor]:
    """Make lines for a person at a terminal; the service's name and version are left out."""
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _plainly,
        _for_a_person,
        structlog.dev.ConsoleRenderer(24, colors=color, sort_keys=False),
    ]


def error_fields(error: BaseException, *, with_stack: bool = True) -> dict[str, object]:
    """Say what an exception is.

    Only the first line of its text is told: PostgreSQL's DETAIL, which follows, may quote a row.
    """
    told: dict[str, object] = {
        "error.type": type(error).__qualname__,
        "error.message": _first_line(error),
    }
    if with_stack:
        told["exception.stacktrace"] = "".join(_stack(error, set())).rstrip()
    return told


def plain(value: object) -> object:
    """Turn a field's value into what JSON knows: times in UTC, durations in seconds."""
    if type(value) is str:
        return without_secrets(value)
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int():
            return value
        case float():
            return round(value, 6) if math.isfinite(value) else str(value)
        case str():
            return without_secrets(value)
        case datetime():
            return _rfc3339(value)
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            return without_secrets(str(value))


def without_secrets(text: str) -> str:
    """Hide the password of every DSN in the text."""
    if "://" not in text and "=" not in text:
        return text  # the two forms have one or the other; this runs for each value of each line
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _plainly(_logger: object, _method: str, line: _Line) -> _Line:
    return {key: plain(value) for key, value in line.items()}


def _in_order(_logger: object, _method: str, line: _Line) -> _Line:
    return {key: line.pop(key) for key in _FIRST_KEYS} | dict(line)


def _for_a_person(_logger: object, _method: str, line: _Line) -> _Line:
    stack = line.pop("exception.stacktrace", None)
    shown = {
        key: _printable(value[:8] if key in _IDS and isinstance(value, str) else value)
        for key, value in line.items()
        if key not in _NOT_FOR_A_PERSON and not key.startswith("service.")
    }
    return shown | ({"exception": stack} if stack else {})


def _printable(value: object) -> object:
    if isinstance(value, str) and not value.isprintable():
        # An escape sequence in a name must not reach the operator's terminal.
        return value.encode("unicode_escape").decode("ascii")
    return value


def _rfc3339(moment: datetime) -> str:
    if moment.tzinfo is None:
        return moment.isoformat()
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:_MESSAGE_LIMIT]


def _stack(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _stack(cause, seen)
        yield "\nwhich led to\n\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__qualname__}: {_first_line(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, start=1):
            yield f"\nwithin it, {number} of {len(error.exceptions)}\n\n"
            yield from _stack(inner, seen)
