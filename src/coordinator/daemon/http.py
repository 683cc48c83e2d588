"""One HTTP/1.1 request on one connection: read its head, answer, close.

Only GET and HEAD, no request body, no second request, and a limit for everything: so the probe of
a service manager costs little, and a strange client costs no more.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

import anyio
import h11
from anyio.abc import ByteStream

TEXT = "text/plain; charset=utf-8"
_CHUNK = 2048
_MOST_DRAINED = 256 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost: bytes of request head, time a request, connections at once.

    For the time `undisturbed` a connection keeps its place, though others wait for one.
    """

    head: int = 8 * 1024
    request: timedelta = timedelta(seconds=5)
    connections: int = 64
    undisturbed: timedelta = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True)
class Request:
    """A GET or HEAD of `path`; `options` are the names in the query, as in `?verbose`."""

    path: str
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back; a HEAD gets it without the body."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


Respond = Callable[[Request], Answer]


async def answer_one_request(stream: ByteStream, respond: Respond, limits: Limits) -> None:
    """Answer the first request on `stream`, which is to be closed after that.

    Nothing that the client does raises an error here: its connection just ends. The time limit is
    the caller's, who hangs up.
    """
    with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
        await _converse(stream, respond, limits)


async def _converse(stream: ByteStream, respond: Respond, limits: Limits) -> None:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head)
    try:
        request = await _read_head(http, stream)
    except h11.RemoteProtocolError as error:
        refusal = _refusal(HTTPStatus(error.error_status_hint))
        await _send(http, stream, refusal, with_body=True)
    else:
        answer = _answer(request, respond)
        await _send(http, stream, answer, with_body=request.method != b"HEAD")
    await _drain(stream)


async def _read_head(http: h11.Connection, stream: ByteStream) -> h11.Request:
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        http.receive_data(await stream.receive(_CHUNK))


def _answer(request: h11.Request, respond: Respond) -> Answer:
    if request.method not in (b"GET", b"HEAD"):
        return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    path, _, query = request.target.decode("ascii").partition("?")
    options = frozenset(part.partition("=")[0] for part in query.split("&"))
    return respond(Request(path, options))


async def _send(
    http: h11.Connection, stream: ByteStream, answer: Answer, *, with_body: bool
) -> None:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    response = h11.Response(
        status_code=answer.status, headers=headers, reason=answer.status.phrase.encode()
    )
    data = http.send(response) or b""
    await stream.send(data + answer.body if with_body else data)


async def _drain(stream: ByteStream) -> None:
    """Wait until the client has closed, so that it has read everything.

    Closing at once would discard what is not sent yet, and closing with unread input would make
    the kernel reset the connection, which can destroy an answer on its way.
    """
    # A client that has gone is an OSError here, and under uvloop a RuntimeError.
    with suppress(OSError, RuntimeError):
        await stream.send_eof()
    drained = 0
    while drained < _MOST_DRAINED:
        drained += len(await stream.receive())


def _refusal(status: HTTPStatus) -> Answer:
    return Answer(status, f"{status.phrase}\n".encode())
