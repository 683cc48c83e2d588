"""The way in on stdin and stdout: one client, which started this process.

Stdin is read by a thread of our own. The SDK's reader cannot be cancelled while it waits for a
line, so that a signal would be answered only after the client's next word.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from threading import Thread
from typing import Any, cast

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

_CHUNK = 65536
_STDIN = 0


async def serve_stdio(server: Server[Any]) -> None:
    """Serve the client until it closes our stdin, or until cancelled."""
    try:
        async with stdio_server(stdin=cast(Any, _lines())) as (read, write):
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
    rest = b""
    while chunk := await chunks.get():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
