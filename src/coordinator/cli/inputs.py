"""What people may write as the value of an option, checked before anything is begun."""

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import click

from coordinator.cli.ending import Unfit

_MOST_CHARACTERS = 64 * 1024 * 1024
_LONGEST_NAME = 63
_NAME = "Name another one with --login."
_DURATIONS = "Write 10s, 250ms, 2m, 1h30m or PT10S."
_EXAMPLE = """For example --context '{"files": ["a.py"]}', or --context @context.json."""

INT32 = click.IntRange(-(2**31), 2**31 - 1)
EVENT_NUMBER = click.IntRange(0, 2**63 - 1)
ROWS = click.IntRange(1, 10_000)
ATTEMPTS = click.IntRange(1, 1_000_000)
READABLE_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class Duration(click.ParamType):  # type: ignore[type-arg] # not generic in older releases of click
    """A span of time; `above_zero` refuses 0."""

    name = "duration"

    def __init__(self, *, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the span, or refuse the value."""
        from coordinator.config.durations import duration

        try:
            span = duration(value)
        except ValueError as error:
            _refuse(f"{value!r} {error}", param, ctx)
        if self._above_zero and not span:
            _refuse("must be above zero", param, ctx, fix=_DURATIONS)
        return span


class Deadline(click.ParamType):  # type: ignore[type-arg] # not generic in older releases of click
    """A moment with its time zone, or a span of time from now."""

    name = "time|duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        """Return the moment or the span, or refuse the value."""
        if isinstance(value, datetime | timedelta):
            return value
        text = str(value)
        if "-" not in text:
            return Duration(above_zero=True).convert(text, param, ctx)
        fix = "Write 2027-01-31T12:00:00Z, or a duration from now such as 2h."
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            _refuse(f"{text!r} is no time: {error}", param, ctx, fix=fix)
        if moment.tzinfo is None:
            _refuse(f"{text!r} has no time zone", param, ctx, fix=fix)
        return moment


class JsonObject(click.ParamType):  # type: ignore[type-arg] # not generic in older releases of click
    """A JSON object: written out, in a file (`@name`), or on stdin (`@-`)."""

    name = "json|@file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, object]:
        """Return the object, or refuse the value."""
        if isinstance(value, dict):
            return value
        text = str(value)
        if text.startswith("@"):
            text = _content(text[1:], param, ctx)
        try:
            found = json.loads(text, parse_constant=_no_constant)
            json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            why = "a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
            _refuse(f"it is not JSON: {why}", param, ctx, fix=_EXAMPLE)
        if not isinstance(found, dict):
            kind = {list: "an array", str: "a string", type(None): "null"}.get(
                type(found), "a plain value"
            )
            _refuse(f"it must be a JSON object, not {kind}", param, ctx, fix=_EXAMPLE)
        return found


class Login(click.ParamType):  # type: ignore[type-arg] # not generic in older releases of click
    """The name of a role to be made in the server."""

    name = "login"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name, or refuse what PostgreSQL would cut off or keep for itself."""
        text = str(value)
        if not text or not text.isprintable() or len(text.encode()) > _LONGEST_NAME:
            _refuse(f"{text!r} is no name of 1 to {_LONGEST_NAME} bytes", param, ctx, fix=_NAME)
        if text.startswith("pg_") or text in {"public", "none"}:
            _refuse(f"PostgreSQL keeps {text!r} for itself", param, ctx, fix=_NAME)
        return text


LOGIN = Login()


def check_text(arguments: list[str]) -> None:
    """Refuse arguments that are not UTF-8: neither JSON nor the database could hold them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode("utf-8", "backslashreplace").decode()
            raise click.UsageError(f"the argument {shown!r} is not UTF-8") from None


def _content(name: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
    try:
        if name == "-":
            text = sys.stdin.read(_MOST_CHARACTERS + 1)
        else:
            with Path(name).open(encoding="utf-8") as file:
                text = file.read(_MOST_CHARACTERS + 1)
    except OSError as error:
        _refuse(f"the file {name!r} cannot be read: {error.strerror}", param, ctx)
    except UnicodeDecodeError:
        _refuse(f"the file {name!r} is not UTF-8", param, ctx)
    if len(text) > _MOST_CHARACTERS:
        fix = "Put large content in a file and hand over its path."
        _refuse(f"the file {name!r} is larger than 64 MiB", param, ctx, fix=fix)
    return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse(
    message: str,
    param: click.Parameter | None,
    ctx: click.Context | None,
    *,
    fix: str | None = None,
) -> NoReturn:
    error = Unfit(message, fix=fix)
    error.param, error.ctx = param, ctx
    raise error
