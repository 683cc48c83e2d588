"""What a hook and the server say: one line of JSON each, and then the connection ends.

Checked by hand and not by pydantic, whose import would be half of a hook's life.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from coordinator.waking.programs import MOST_PROGRAMS, Program

LONGEST_LINE = 1000
"""Bytes; a line of ours has a few hundred."""
LONGEST_SESSION = 100
"""Characters; an id has 36."""


class Word(StrEnum):
    """What a hook wants of the server."""

    WAIT = "wait"
    """The session is at rest: say when there is a handoff."""
    BUSY = "busy"
    """The session works for its user."""
    END = "end"
    """The session is over."""


class Found(StrEnum):
    """What the server says to that."""

    OFFERED = "offered"
    UNDER_WAY = "under_way"
    """It was accepted, and the turn ended without settling it."""
    NOTHING = "nothing"
    REPLACED = "replaced"
    """Somebody else waits now, or the session went to work."""
    NOTED = "noted"


class Garbled(ValueError):
    """A line is none of ours."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a hook comes from."""

    callers: tuple[Program, ...] = ()
    """What has called it, and the programs above, the nearest first; none where nobody knows."""
    session: str | None = None
    """The id of the session, in its client's words."""
    begins: bool = False
    ends: bool = False

    @property
    def caller(self) -> Program | None:
        """The program that has called it."""
        return self.callers[0] if self.callers else None


@dataclass(frozen=True, slots=True)
class Request:
    """What a hook says."""

    word: Word
    at_most: timedelta | None = None
    """How long to wait; None: until there is something."""
    comes_back: bool = False
    """Another wait follows at once if this one brings nothing."""
    origin: Origin = Origin()

    def line(self) -> bytes:
        """Return it as a line."""
        at_most_s = None if self.at_most is None else self.at_most.total_seconds()
        return _line(
            word=self.word,
            at_most_s=at_most_s,
            comes_back=self.comes_back,
            callers=[[each.pid, each.started] for each in self.origin.callers],
            session=self.origin.session,
            begins=self.origin.begins,
            ends=self.origin.ends,
        )

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Read a line; raise Garbled."""
        found = _object(line)
        origin = _origin(found)
        match found:
            case {"word": str(word), "at_most_s": None, "comes_back": bool(comes_back), **rest}:
                at_most = None
            case {
                "word": str(word),
                "at_most_s": int() | float() as seconds,
                "comes_back": bool(comes_back),
                **rest,
            } if 0 <= seconds <= _A_DAY_S:
                at_most = timedelta(seconds=seconds)
            case _:
                raise Garbled("the fields are others")
        if rest or word not in set(Word):
            raise Garbled("there are more fields, or another word")
        return cls(Word(word), at_most, comes_back, origin)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says: ids only, never a text of another agent."""

    found: Found
    handoff_id: UUID | None = None
    attempt: int | None = None

    def line(self) -> bytes:
        """Return it as a line."""
        handoff_id = self.handoff_id and str(self.handoff_id)
        return _line(found=self.found, handoff_id=handoff_id, attempt=self.attempt)

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Read a line; raise Garbled."""
        match _object(line):
            case {"found": str(found), "handoff_id": None, "attempt": None} if found in _WITHOUT:
                return cls(Found(found))
            case {"found": str(found), "handoff_id": str(text), "attempt": int(attempt)} if (
                found in _WITH and attempt > 0
            ):
                try:
                    return cls(Found(found), UUID(text), attempt)
                except ValueError as error:
                    raise Garbled("the id is none") from error
            case _:
                raise Garbled("the fields are others")


_A_DAY_S = 86400
_WITH = {Found.OFFERED, Found.UNDER_WAY}
_WITHOUT = set(Found) - _WITH


def _origin(fields: dict[str, Any]) -> Origin:
    """Take out of the fields what they say of the origin; raise Garbled."""
    found = {name: fields.pop(name, None) for name in ("callers", "session", "begins", "ends")}
    match found:
        case {
            "callers": list(callers),
            "session": str() | None as session,
            "begins": bool(begins),
            "ends": bool(ends),
        } if len(callers) <= MOST_PROGRAMS and len(session or "") <= LONGEST_SESSION:
            return Origin(tuple(map(_program, callers)), session, begins, ends)
        case _:
            raise Garbled("it does not say where it comes from")


def _program(found: object) -> Program:
    match found:
        case [int(pid), int(started)]:
            return Program(pid, started)
        case _:
            raise Garbled("a program is a number, and when it was started")


def _line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Garbled("it is no JSON") from error
    if not isinstance(found, dict):
        raise Garbled("it is no object")
    return found
