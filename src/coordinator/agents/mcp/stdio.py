"""The way in on stdin and stdout: one client, which started this process.

Both are served by threads of our own. The SDK's cannot be cancelled while they wait, one for a line
and the other for a client that does not read, so that a signal would be answered only after the
client's next word, or never.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from coordinator.agents.mcp.unreadable import complaint

_CHUNK = 65536
_STDIN, _STDOUT = 0, 1
_READS_ON_FOR_S = 5
"""A client that has closed our stdin has so long to read what was still to be said."""


async def serve_stdio(server: Server[Any]) -> None:
    """Serve the client until it closes our stdin, or until cancelled."""
    ready = anyio.Event()

    async def check(line: str) -> bool:
        """Whether it can be read; whoever asked what cannot be read is told so."""
        answer = complaint(line)
        if answer is not None:
            await ready.wait()
            await write.send(SessionMessage(answer))
        return answer is None

    async def lines() -> AsyncIterator[str]:
        async for line in _lines():
            if await check(line):
                yield line
        scope.deadline = anyio.current_time() + _READS_ON_FOR_S

    try:
        with anyio.CancelScope() as scope:
            async with stdio_server(cast(Any, lines()), cast(Any, _Stdout())) as (read, write):
                ready.set()
                await server.run(read, write, server.create_initialization_options())
    except* BrokenPipeError:
        pass  # the client has gone without closing our stdin


async def _lines() -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        chunk = b"?"
        while chunk:
            try:
                chunk = os.read(_STDIN, _CHUNK)
            except OSError:
                chunk = b""
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    # A daemon: nobody waits for a read that may never end. It uses no buffer of Python's, whose
    # lock would stop the interpreter from ending.
    Thread(target=read, name="stdin", daemon=True).start()
    begun: list[bytes] = []
    while chunk := await chunks.get():
        # A long line comes in many chunks; to join it anew for each would take minutes.
        end, *further = chunk.split(b"\n")
        begun.append(end)
        for begins in further:
            yield b"".join(begun).decode(errors="replace")
            begun = [begins]


class _Stdout:
    """What the SDK takes for an open file."""

    def __init__(self) -> None:
        self._to_write: SimpleQueue[tuple[bytes, Callable[[OSError | None], None]]] = SimpleQueue()
        Thread(target=self._write, name="stdout", daemon=True).start()

    async def write(self, text: str) -> None:
        """Write all of it; raise OSError where the client has gone."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()

        def settle(error: OSError | None) -> None:
            if written.cancelled():
                return
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)

        def tell(error: OSError | None) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, error)

        self._to_write.put((text.encode(errors="replace"), tell))
        await written

    async def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def _write(self) -> None:
        while True:
            rest, tell = self._to_write.get()
            try:
                while rest:
                    rest = rest[os.write(_STDOUT, rest) :]
            except OSError as error:
                tell(error)
            else:
                tell(None)
