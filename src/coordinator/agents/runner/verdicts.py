"""What a command that has ended makes of its handoff: a table, one rule a profile.

    plain    exit 0                        succeeds with stdout: JSON if it is, else `{"output": …}`
             exit 75                       fails, and is tried again
             any other code, a signal      fails for good, with the end of stderr
    claude   a result without an error     succeeds
    codex    a completed turn, a message   succeeds
    gemini   a response without an error   succeeds
             anything else                 fails for good, exit 0 as well: a model's command line
                                           can end with 0 and not have done the work

Everything here is pure; whatever the runner itself ended is decided before anybody asks here.
"""

import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from coordinator.agents.runner.capture import Written
from coordinator.core.model import Json
from coordinator.core.nul import holds_nul

TRY_AGAIN = 75
"""The exit code of a plain command that wants to be run again: EX_TEMPFAIL."""
_LONGEST_TAIL = 3000
"""Characters of stderr that a reason quotes."""
_MOST_BYTES = 1024 * 1024 - 1024
"""What fits into a result, by the default `max_content_bytes`."""
_EXPONENT = re.compile(rb"\de[+-](\d+)")
_NOTHING = Written()
_GEMINI_CODES = {41: "authentication", 42: "input", 53: "turn limit"}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended by itself, and what it wrote; `code` is None for a signal."""

    code: int | None
    number: int | None = None
    """The signal that ended it."""
    out: Written = _NOTHING
    err: Written = _NOTHING

    @property
    def ending(self) -> str:
        """Say how it ended: `exit code 3`, `signal 9 (SIGKILL)`."""
        if self.number is None:
            return f"exit code {self.code}"
        try:
            return f"signal {self.number} ({signal.Signals(self.number).name})"
        except ValueError:  # a real-time one
            return f"signal {self.number}"

    @property
    def may_have_been_asked(self) -> bool:
        """Whether it may have ended because somebody else asked it to: what ends all at once."""
        asked = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
        return self.number in asked or self.code in (0, *(128 + number for number in asked))


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handoff succeeds with this."""

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The handoff fails for this reason; with `retry` it is tried again."""

    reason: str
    retry: bool = False


Decision = Succeeded | Failed
Rule = Callable[[Ran], Decision]


def plain(ran: Ran) -> Decision:
    """Decide by the exit code."""
    if ran.code == 0:
        return Succeeded(_plain_result(ran.out))
    return Failed(_with_stderr(ran.ending, ran), retry=ran.code == TRY_AGAIN)


def claude(ran: Ran) -> Decision:
    """Decide by the object `{"type": "result"}` of `claude -p --output-format json`.

    Its `subtype` decides nothing: it has been seen to say `success` beside an error.
    """
    said = _last(ran.out, lambda item: item.get("type") == "result")
    if said is None:
        return _without("a result", ran)
    text = said.get("result")
    if said.get("is_error") is not False or not isinstance(text, str):
        told = text if isinstance(text, str) and text else said.get("subtype")
        return Failed(f"Claude reports an error: {_short(told)} ({ran.ending})")
    return _answer(ran, text, session_id=said.get("session_id"))


def codex(ran: Ran) -> Decision:
    """Decide by the last turn and the last message among the events of `codex exec --json`."""
    turn = _last(ran.out, lambda item: item.get("type") in {"turn.completed", "turn.failed"})
    if turn is None:
        error = _last(ran.out, lambda item: item.get("type") == "error")
        return _without("a finished turn", ran, error and error.get("message"))
    if turn["type"] == "turn.failed":
        return Failed(f"Codex reports a failed turn: {_message(turn)} ({ran.ending})")
    message = _last(ran.out, _is_message)
    if message is None:
        return _without("a message", ran)
    return _answer(ran, message["item"]["text"], thread_id=thread_of(ran))


def gemini(ran: Ran) -> Decision:
    """Decide by the object of `gemini --output-format json`; an error may stand on stderr."""
    said = _last(ran.out, lambda item: "response" in item or "error" in item)
    said = said or _last(ran.err, lambda item: "error" in item)
    if said is not None and said.get("error"):
        return Failed(f"Gemini reports an error: {_message(said)} ({ran.ending})")
    if said is None or not isinstance(said.get("response"), str) or not said["response"].strip():
        return _without("a response", ran, _GEMINI_CODES.get(ran.code or 0))
    return _answer(ran, said["response"], session_id=said.get("session_id"))


def session_of(ran: Ran) -> str | None:
    """Read the session that Claude or Gemini has named in its document."""
    said = _last(ran.out, lambda item: isinstance(item.get("session_id"), str))
    return said["session_id"] if said else None


def thread_of(ran: Ran) -> str | None:
    """Read the thread that Codex has named among its events."""
    said = _last(ran.out, lambda item: item.get("type") == "thread.started")
    thread = said and said.get("thread_id")
    return thread if isinstance(thread, str) else None


def storable(value: Any) -> bool:
    """Whether PostgreSQL takes this as JSON."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (ValueError, RecursionError):  # UnicodeEncodeError is one of the first
        return False
    return not holds_nul(text) and size <= _MOST_BYTES


def _plain_result(out: Written) -> Any:
    if not out.text.strip():
        return None
    if not out.left_out:
        try:
            found = json.loads(out.text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            found = _plain_result
        if found is not _plain_result and storable(found) and _spelt_out(found) <= _MOST_BYTES:
            return found
    return _output(out.text, left_out=out.left_out)


def _spelt_out(value: Any) -> int:
    """Return how many bytes PostgreSQL needs: it writes 1e300 with all its zeros."""
    text = json.dumps(value, ensure_ascii=False).encode()
    return len(text) + sum(map(int, _EXPONENT.findall(text)))


def _output(text: str, **more: Any) -> Json:
    text = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    answer: Json = {"output": text, **{name: value for name, value in more.items() if value}}
    while not storable(answer):
        answer["output"] = answer["output"][: len(answer["output"]) // 2]
        answer["cut"] = True
    return answer


def _answer(ran: Ran, text: str, **more: Any) -> Decision:
    if ran.code != 0:
        return Failed(_with_stderr(f"it printed a result, and ended with {ran.ending}", ran))
    return Succeeded(_output(text, **{name: v for name, v in more.items() if isinstance(v, str)}))


def _without(what: str, ran: Ran, told: object = None) -> Failed:
    cut = f" ({ran.out.left_out} bytes of its output were left out)" if ran.out.left_out else ""
    also = f": {_short(told)}" if told else ""
    return Failed(_with_stderr(f"{ran.ending} without {what} as JSON{also}{cut}", ran))


def _with_stderr(reason: str, ran: Ran) -> str:
    tail = ran.err.tail(_LONGEST_TAIL)
    return f"{reason}: {tail}" if tail else reason


def _last(written: Written, wanted: Callable[[Json], bool]) -> Json | None:
    return next((item for item in _objects(written.text) if wanted(item)), None)


def _objects(text: str) -> Iterator[Json]:
    """Yield the JSON objects of an output, the last one first: one document, or one on each line.

    A client may print words before its document.
    """
    lines = text.split("\n")
    starts = [n for sign in "{[" if (n := _first(lines, sign)) is not None]
    whole = next(filter(None, (_parsed("\n".join(lines[n:])) for n in starts)), None)
    found = whole if isinstance(whole, list) else [whole]
    if whole is None:
        found = [_parsed(line) for line in lines if line.startswith("{")]
    yield from (item for item in reversed(found) if isinstance(item, dict))


def _first(lines: list[str], sign: str) -> int | None:
    return next((n for n, line in enumerate(lines) if line.startswith(sign)), None)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_message(event: Json) -> bool:
    item = event.get("item")
    return (
        event.get("type") == "item.completed"
        and isinstance(item, dict)
        and item.get("type") == "agent_message"
        and isinstance(item.get("text"), str)
    )


def _message(said: Json) -> str:
    error = said.get("error")
    return _short(error.get("message") if isinstance(error, dict) else error)


def _short(told: object) -> str:
    return str(told)[:_LONGEST_TAIL]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
