"""What a receiver's answer means: a table.

    200 with JSON that has an `outcome`     settled at once, if it is one of the two forms below
    200, any other 2xx                      taken; the receiver settles later, by its token
    409                                     declined: for another time or another agent
    410                                     declined, and the endpoint is gone
    408, 425, 429, 5xx                      later; `Retry-After` is heeded
    3xx, any other 4xx                      misconfigured: somebody must mend something

    {"outcome": "succeeded", "result": any JSON}
    {"outcome": "failed", "error": text, "retry": true or false, "result": any JSON}

JSON without an `outcome` is whatever a framework says of its own accord, and is ignored. With one
it must fit: a receiver that meant to settle will not do so again, so what does not fit ends the
attempt for good, with the reason. So does JSON that cannot be read, or is too large to be read.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from coordinator.agents.webhook.wire import MOST_BYTES, Reply
from coordinator.core.nul import holds_nul

_LATER = (408, 425, 429)
_DECLINED, _GONE = 409, 410


class Succeeded(BaseModel):
    """The work is done."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    outcome: Literal["succeeded"]
    result: Any = None


class Failed(BaseModel):
    """The work is not done; `retry` whether another attempt may help."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    outcome: Literal["failed"]
    error: str = Field(min_length=1, max_length=4000)
    retry: bool = True
    result: Any = None


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The receiver is through with it."""

    word: Succeeded | Failed


@dataclass(frozen=True, slots=True)
class Unfit:
    """The receiver meant to settle it, and what it says is of no use."""

    why: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The receiver does not want it."""

    why: str
    is_gone: bool = False
    """Nor anything else, ever."""


@dataclass(frozen=True, slots=True)
class Later:
    """Nobody has it; trying again may help, `after` so many seconds if the receiver says."""

    why: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Nobody has it; trying again will not help until somebody mends something."""

    why: str


Meaning = Taken | Settled | Unfit | Declined | Later | Misconfigured

_WORDS: TypeAdapter[Succeeded | Failed] = TypeAdapter(
    Annotated[Succeeded | Failed, Field(discriminator="outcome")]
)


def meaning(reply: Reply, *, now: float) -> Meaning:
    """Read the table; `now` is in seconds since 1970."""
    told = f"HTTP {reply.status}"
    if reply.status == 200 and reply.is_cut:
        return Unfit(f"its answer is larger than {MOST_BYTES} bytes")
    if reply.status == 200 and reply.answer:
        return _said(reply.answer)
    if 200 <= reply.status < 300:
        return Taken()
    if reply.status in (_DECLINED, _GONE):
        return Declined(told, is_gone=reply.status == _GONE)
    if reply.status in _LATER or reply.status >= 500:
        return Later(told, _seconds(reply.headers.get("retry-after"), now=now))
    if 300 <= reply.status < 400:
        return Misconfigured(f"{told}: redirects are not followed")
    return Misconfigured(told)


def _said(answer: bytes) -> Meaning:
    try:
        found = json.loads(answer, parse_constant=_no_constant)
        # What the database cannot keep: infinite numbers, halves of characters, NUL.
        kept = json.dumps(found, ensure_ascii=False, allow_nan=False)
        kept.encode()
        if holds_nul(kept):
            _no_constant("NUL")
    except (ValueError, RecursionError):
        return Unfit("its answer is no JSON that PostgreSQL can keep")
    if not isinstance(found, dict) or "outcome" not in found:
        return Taken()
    try:
        return Settled(_WORDS.validate_python(found))
    except ValidationError as error:
        # Only places and kinds: what was written there is the receiver's.
        wrong = sorted(
            {".".join(map(str, each["loc"][1:])) or "outcome" for each in error.errors()}
        )
        return Unfit(f"its answer does not fit: {', '.join(wrong)[:200]}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _seconds(text: str | None, *, now: float) -> float | None:
    """Read a Retry-After: seconds, or a moment; None for anything else."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.fromtimestamp(now, UTC)).total_seconds(), 0)
