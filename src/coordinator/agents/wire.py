"""An agent's calls over a socket: `AgentCalls` on the one side, whoever answers them on the other.

A line of JSON for a call, a line for its answer, one call at a time:

    {"call": "accept", "given": {"life": {…}, "token": {…}}}
    {"answer": {…}}        or        {"error": {"kind": "refused", "code": "ZH001", "what": …}}

The forms of arguments and answers are read from the protocol itself, so that a call is described in
one place. Nothing is pushed this way: whoever waits for work has a connection of its own.
"""

import inspect
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self, cast, get_type_hints

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from coordinator.agents.calls import AgentCalls
from coordinator.core.errors import CoordinatorError, RequestRefused, StoreUnavailable
from coordinator.core.model import Json

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes: a handoff's context and its result have at most 1 MiB each, by default."""
_TOO_LARGE = "54000"
"""SQLSTATE: a limit of the program was passed."""
_NO_CALLS = {"lost", "close", "hang_up", "listen"}


class Garbled(ValueError):
    """What came over the socket is no call, or no answer."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a call takes, and what it answers."""

    given: type[BaseModel]
    answer: TypeAdapter[Any]
    signature: inspect.Signature

    @classmethod
    @cache
    def of(cls, call: str) -> Self:
        """Read a call's form; raise Garbled where there is no such call."""
        method = getattr(AgentCalls, call, None)
        if call.startswith("_") or call in _NO_CALLS or method is None:
            raise Garbled(f"there is no call {call!r}")
        hints = get_type_hints(method)
        signature = inspect.signature(method)
        fields: dict[str, Any] = {
            name: (hints[name], ... if each.default is each.empty else each.default)
            for name, each in signature.parameters.items()
            if name != "self"
        }
        config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")
        given = create_model(call, __config__=config, **fields)
        return cls(given, TypeAdapter(hints["return"]), signature)


class RemoteCalls:
    """The calls of one connection, as `AgentCalls`; made by `dial`."""

    def __init__(self, stream: SocketStream) -> None:
        self.lost = anyio.Event()
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - not Django's
        self._lines = BufferedByteReceiveStream(stream)
        self._one_at_a_time = anyio.Lock()

    def __getattr__(self, call: str) -> Callable[..., Awaitable[Any]]:
        try:
            form = Form.of(call)
        except Garbled:
            raise AttributeError(call) from None

        async def ask(*arguments: Any, **named: Any) -> Any:
            bound = form.signature.bind(self, *arguments, **named).arguments
            del bound["self"]
            given = form.given.model_construct(**bound).model_dump(mode="json")
            answer = await self._ask(line({"call": call, "given": given}))
            return form.answer.validate_python(answer, strict=False)

        return ask

    async def listen(self, hear: Mapping[str, Callable[[str], None]]) -> None:
        """Hear nothing: see the module's head."""

    def hang_up(self) -> None:
        """Drop the connection."""
        self.lost.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Say goodbye."""
        self.hang_up()
        with anyio.CancelScope(shield=True):
            await self._stream.aclose()

    async def _ask(self, call: bytes) -> Any:
        async with self._one_at_a_time:
            if self.lost.is_set():
                raise StoreUnavailable("the connection to the runner was lost")
            try:
                await self._stream.send(call)
                said = await receive(self._lines)
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, Garbled) as error:
                self.hang_up()
                raise StoreUnavailable("the runner does not answer", str(error)) from None
            except BaseException:
                self.hang_up()  # an answer may still come, and would be taken for the next one's
                raise
        if refusal := said.get("error"):
            raise _error_from(refusal)
        return said.get("answer")


async def dial(path: Path) -> AgentCalls:
    """Connect; raise StoreUnavailable where nobody listens."""
    try:
        stream = await anyio.connect_unix(path)
    except OSError as error:
        raise StoreUnavailable("the runner is not there", error.strerror) from None
    return cast(AgentCalls, RemoteCalls(stream))


def line(message: Json) -> bytes:
    """Write one line; raise RequestRefused for one that is too long."""
    written = json.dumps(message, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
    if len(written) > LONGEST_LINE:
        raise RequestRefused(
            _TOO_LARGE,
            "this is too large to pass between the command and its runner",
            f"it has {len(written)} bytes, and the limit is {LONGEST_LINE}",
            "Hand over paths, not files.",
        )
    return written


async def receive(lines: BufferedByteReceiveStream) -> Json:
    """Receive one line; raise Garbled for what is no JSON object, EndOfStream at the end."""
    try:
        message = json.loads(await lines.receive_until(b"\n", LONGEST_LINE))
    except (anyio.DelimiterNotFound, anyio.IncompleteRead, ValueError, RecursionError) as error:
        raise Garbled(str(error) or type(error).__name__) from None
    if not isinstance(message, dict):
        raise Garbled("it is no JSON object")
    return message


def read_call(message: Json) -> tuple[str, dict[str, Any]]:
    """Return a call's name and its arguments; raise Garbled for anything else."""
    call = message.get("call")
    if not isinstance(call, str):
        raise Garbled("it names no call")
    try:
        given = Form.of(call).given.model_validate_json(json.dumps(message.get("given", {})))
    except ValidationError as error:
        raise Garbled(f"{call}: {error.errors(include_url=False)[0]['msg']}") from None
    return call, {name: getattr(given, name) for name in type(given).model_fields}


def written_answer(call: str, answer: Any) -> Json:
    """Write an answer; raise RequestRefused for one that cannot be written."""
    try:
        return {"answer": Form.of(call).answer.dump_python(answer, mode="json")}
    except (ValueError, RecursionError):
        raise RequestRefused(
            _TOO_LARGE,
            "this cannot be shown here",
            "its lists and objects lie too deep in each other",
            "Leave it, or decline it if it is yours.",
        ) from None


def written_error(error: CoordinatorError) -> Json:
    """Write what a call has raised."""
    told: Json = {"kind": "unavailable", "what": error.what, "why": error.why, "fix": error.fix}
    if isinstance(error, RequestRefused):
        told |= {"kind": "refused", "code": error.code}
    return {"error": told}


def _error_from(told: Json) -> CoordinatorError:
    words = (str(told.get("what")), told.get("why"), told.get("fix"))
    if told.get("kind") == "refused":
        return RequestRefused(str(told.get("code")), *words)
    return StoreUnavailable(*words)
