"""A door on the loopback interface for clients that cannot send a token: it adds one.

Everything else passes as it is, so that the server behind it sees the client's own headers. It
takes one request a connection, and says so to both sides.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

_LONGEST_HEAD = 65536
_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, OSError)


@dataclass(slots=True)
class Door:
    """Where clients knock. `leads_to` is the server's URL."""

    address: str
    token: str
    leads_to: str = ""

    @property
    def url(self) -> str:
        """What clients are told."""
        return f"http://{self.address}{urlsplit(self.leads_to).path}"

    async def let_in(self, client: SocketStream) -> None:
        """Pass one request on, and its answer back."""
        behind = urlsplit(self.leads_to)
        assert behind.hostname
        assert behind.port
        async with client, await anyio.connect_tcp(behind.hostname, behind.port) as server:
            asking = BufferedByteReceiveStream(client)
            try:
                first, *fields = (await asking.receive_until(b"\r\n\r\n", _LONGEST_HEAD)).split(
                    b"\r\n"
                )
                kept = [each for each in fields if not each.lower().startswith(b"connection:")]
                added = [b"Connection: close", f"Authorization: Bearer {self.token}".encode()]
                await server.send(b"\r\n".join([first, *kept, *added, b"", b""]))
            except _GONE:
                return
            async with anyio.create_task_group() as both:
                # Whichever side ends it, ends it for both.
                both.start_soon(_pour, asking, server, both.cancel_scope)
                both.start_soon(_pour, server, client, both.cancel_scope)


@asynccontextmanager
async def token_door(token: str) -> AsyncIterator[Door]:
    """Open a door until the end of the block; say where it leads before anybody knocks."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    door = Door(f"127.0.0.1:{port}", token)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, door.let_in)
        yield door
        tasks.cancel_scope.cancel()


async def _pour(source: ByteReceiveStream, into: ByteSendStream, scope: anyio.CancelScope) -> None:
    try:
        async for chunk in source:
            await into.send(chunk)
    except _GONE:
        pass
    finally:
        scope.cancel()
