"""A real HTTP receiver on the loopback interface, and `coordinator agent webhook` as a process."""

import asyncio
import json
import signal
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from typing import Any
from uuid import UUID

import anyio

from tests.support.certificates import Certificate
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator
from tests.support.runner import QUICK, says
from tests.support.waiting import eventually

SECRET = "whsec_" + b64encode(b"a secret of thirty-two bytes, ok").decode()
PATH = "/hook/s3cr3t-path"
IN_HASTE = ("--probe-every", "200ms", "--deliver-within", "2s", "--timeout", "1s", "--grace", "2s")
READY = "waits for handoffs: its webhook answers"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def status(code: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = [f"HTTP/1.1 {code} Whatever", "Content-Length: 0", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def said(value: Any, *, kind: str = "application/json") -> bytes:
    """An answer of 200 with this JSON, or with these bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass(frozen=True, slots=True)
class Received:
    """A request."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    writer: asyncio.StreamWriter = field(repr=False)

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def type(self) -> str:
        return str(self.event["type"])

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def token(self) -> tuple[UUID, int, str, UUID]:
        """What the functions of the schema take: id, attempt, agent, incarnation."""
        data = self.event["data"]
        return (
            UUID(data["handoff_id"]),
            data["attempt"],
            data["agent"],
            UUID(data["incarnation"]),
        )

    @property
    def is_of_work(self) -> bool:
        """Whether it is about a handoff."""
        return self.type != "webhook.ping"

    def token_or_none(self) -> UUID | None:
        """The handoff that it is about, if any."""
        found = self.event["data"].get("handoff_id")
        return UUID(found) if found else None

    def is_signed_with(self, secret: str = SECRET) -> bool:
        """Verify it by the words of Standard Webhooks, not by our code."""
        if abs(time.time() - int(self.headers["webhook-timestamp"])) > 60:
            return False
        key = b64decode(secret.removeprefix("whsec_"))
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + b64encode(digest(key, content, sha256)).decode()
        return expected in self.headers["webhook-signature"].split(" ")


Answer = Callable[[Received], Awaitable[bytes]]


@dataclass(slots=True)
class Receiver:
    """Answers as it is told to, by the kind of the event, and remembers every request."""

    port: int = 0
    scheme: str = "http"
    requests: list[Received] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    connections: int = 0
    hangs_up: bool = False
    _server: asyncio.Server | None = None
    _busy: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.scheme == "http" else "localhost"
        return f"{self.scheme}://{host}:{self.port}{PATH}"

    def answer(self, kind: str, *answers: bytes | Answer) -> None:
        """Answer events of this kind with these, one after the other, and on with the last."""
        left = list(answers)

        async def next_one(request: Received) -> bytes:
            now = left.pop(0) if len(left) > 1 else left[0]
            return now if isinstance(now, bytes) else await now(request)

        self.answers[f"handoff.{kind}"] = next_one

    def answer_pings(self, answer: bytes) -> None:
        """Answer pings with this from now on."""

        async def this(_: Received) -> bytes:
            return answer

        self.answers["webhook.ping"] = this

    def got(self, kind: str) -> list[Received]:
        """The requests so far of this kind."""
        return [each for each in self.requests if each.type == f"handoff.{kind}"]

    async def receives(self, kind: str, count: int = 1) -> Received:
        """Wait for so many requests of this kind; return the last of them."""

        async def probe() -> list[Received]:
            found = self.got(kind)
            return found if len(found) >= count else []

        return (await eventually(probe))[count - 1]

    async def called(self, count: int) -> None:
        """Wait for this many more connections."""
        before = self.connections

        async def probe() -> bool:
            return self.connections >= before + count

        await eventually(probe)

    async def open(self) -> None:
        """Listen; on the port of before, if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._busy):
            writer.close()
        self._server = None

    @asynccontextmanager
    async def hanging_up(self) -> AsyncIterator[None]:
        """Whoever calls in the block is cut off before a word was said."""
        self.hangs_up = True
        try:
            yield
        finally:
            self.hangs_up = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.hangs_up:
            writer.close()
            return
        self._busy.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.rstrip().split("\r\n")
                headers = {
                    name.lower(): value
                    for name, _, value in (each.partition(": ") for each in lines)
                }
                body = await reader.readexactly(int(headers["content-length"]))
                request = Received(line, headers, body, writer)
                self.requests.append(request)
                answer = self.answers.get(request.type)
                writer.write(await answer(request) if answer else NO_CONTENT)
                await writer.drain()
            finally:
                self._busy.discard(writer)
                writer.close()


async def never(_: Received) -> bytes:
    """Give no answer."""
    await anyio.sleep_forever()
    raise AssertionError


async def endless_json(request: Received) -> bytes:
    """Begin a JSON text and never end it."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    return await _without_end(request, head, b'"' + b"x" * 65536)


async def endless_text(request: Received) -> bytes:
    """The same, and not JSON."""
    return await _without_end(request, "HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)


async def endless_head(request: Received) -> bytes:
    """Go on with headers, for ever."""
    return await _without_end(request, "HTTP/1.1 200 OK\r\n", b"X-More: x\r\n" * 1000)


async def dripping_json(request: Received) -> bytes:
    """Write an answer one byte at a time."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    request.writer.write(head.encode())
    while True:
        request.writer.write(b" ")
        await request.writer.drain()
        await anyio.sleep(0.05)


async def _without_end(request: Received, head: str, piece: bytes) -> bytes:
    request.writer.write(head.encode())
    while True:
        request.writer.write(piece)
        await request.writer.drain()


@asynccontextmanager
async def receiving(certificate: Certificate | None = None) -> AsyncIterator[Receiver]:
    """A receiver that takes everything, until it is told otherwise."""
    receiver = Receiver()
    if certificate is not None:
        receiver.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        receiver.tls.load_cert_chain(certificate.file, certificate.key)
        receiver.scheme = "https"
    await receiver.open()
    try:
        yield receiver
    finally:
        await receiver.close()


LOOPBACK = ("--allow-private", "127.0.0.0/8")


@asynccontextmanager
async def webhook(
    database: Database | str,
    url: str,
    *options: str,
    reach: tuple[str, ...] = LOOPBACK,
    ready: str = READY,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[RunningProcess]:
    """Run the agent `ada` behind this URL, until it says `ready`; it is stopped at the end."""
    given = {
        "DATABASE_URL": database if isinstance(database, str) else database.dsn,
        "COORDINATOR_WEBHOOK_SECRET": SECRET,
        "COORDINATOR_WEBHOOK_URL": url,
        **QUICK,
        **(env or {}),
    }
    command = ("agent", "webhook", "--name", "ada", *IN_HASTE, *reach, *options)
    async with coordinator(*command, env=given) as process:
        await says(process, ready)
        yield process
        if process.process.poll() is None:
            process.kill(signal.SIGTERM)
            assert await process.wait() == 0, str(process)
