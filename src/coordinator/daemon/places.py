"""Whose turn it is at a listener of the health socket, and for how long.

A client loses its place after `Limits.request`, whatever it does, and before that to a newcomer
where all places are taken and it has had time enough: so clients that only sit there keep nobody
out. Whoever finds no place yet waits, and those behind it in the kernel's backlog.

A connection is ended by a shutdown of its socket and not by cancelling: anyio's unix sockets would
now and then log an InvalidStateError for that, as often as a stranger likes.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream

from coordinator.daemon.http import Limits


class Places:
    """The connections that one listener serves at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = anyio.Event()
        self._since: dict[SocketStream, float] = {}

    async def wait(self) -> None:
        """Return once there is a place."""
        while len(self._since) >= self._limits.connections:
            slowest, since = next(iter(self._since.items()))
            patience = since + self._limits.undisturbed.total_seconds() - anyio.current_time()
            self._left = anyio.Event()
            with anyio.move_on_after(max(patience, 0)) as waiting:
                await self._left.wait()
            if waiting.cancelled_caught and self._since.pop(slowest, None) is not None:
                _hang_up(slowest)

    @contextmanager
    def taken_by(self, stream: SocketStream) -> Iterator[None]:
        """Take a place for the length of the block, at most as long as a request may take."""
        self._since[stream] = anyio.current_time()
        limit = self._limits.request.total_seconds()
        timer = asyncio.get_running_loop().call_later(limit, _hang_up, stream)
        try:
            yield
        finally:
            timer.cancel()
            self._since.pop(stream, None)
            self._left.set()


def _hang_up(stream: SocketStream) -> None:
    """End the connection; whoever reads or writes it notices at once."""
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - this is not Django's
    # Through another descriptor: uvloop's socket objects know no shutdown.
    with suppress(OSError), socket.socket(fileno=os.dup(raw.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
