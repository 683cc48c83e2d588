"""Lines on their way out: a thread writes them, so that a reader who does not read stops nobody.

Whoever must know that a line was written waits for that with `flush`; all others go on at once.
While nobody reads, lines gather up to a limit; what comes beyond it is dropped, counted, and told
once somebody reads again.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import anyio

from coordinator.telemetry.sink import LineSink

_ROOM = 1000
"""Lines that wait at most, besides those that are needed."""
_AT_ONCE = 64


class Outbox:
    """The queue of one sink, and its thread. `word_loss` makes the line about dropped ones."""

    def __init__(self, sink: LineSink, word_loss: Callable[[int], str]) -> None:
        self._sink = sink
        self._word_loss = word_loss
        self._change = threading.Condition()
        self._lines: deque[str] = deque()
        self._taken = 0
        """How many lines were ever taken in."""
        self._done = 0
        """How many of these were written, or lost in the attempt."""
        self._moved_at = 0.0
        self._refused = 0
        self._untold = 0
        self._closed = False
        self._waiting: list[tuple[int, Callable[[], object]]] = []
        # A daemon thread: it may wait for its reader for ever, and the process must end.
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @property
    def unwritten(self) -> int:
        """How many lines that were taken in could not be written, as on a full disk."""
        return self._sink.unwritten

    @property
    def lost(self) -> int:
        """How many lines nobody will read: those, and the ones for which there was no room."""
        return self._sink.unwritten + self._refused

    @property
    def stuck_for(self) -> timedelta:
        """How long lines have waited and none was written; zero while none waits."""
        with self._change:
            waits = self._done < self._taken
            return timedelta(seconds=time.monotonic() - self._moved_at if waits else 0)

    def put(self, line: str, *, needed: bool = False) -> None:
        """Take in a line, at once; one that is not needed is dropped where there is no room."""
        with self._change:
            if self._closed or (len(self._lines) >= _ROOM and not needed):
                self._refused += 1
                self._untold += 1
                return
            self._tell_of_refused()
            self._take_in(line)

    async def flush(self, *, within: timedelta) -> bool:
        """Wait until what was taken in is written or lost; False if that takes too long.

        Raises RuntimeError if nothing will ever be written again.
        """
        settled = anyio.Event()
        loop = asyncio.get_running_loop()
        with self._change:
            if self._done == self._taken:
                return True
            waiter = (self._taken, lambda: loop.call_soon_threadsafe(settled.set))
            self._waiting.append(waiter)
        try:
            with anyio.move_on_after(within.total_seconds()):
                await settled.wait()
        finally:
            with self._change, suppress(ValueError):
                self._waiting.remove(waiter)
        if not settled.is_set() and not self._thread.is_alive():
            raise RuntimeError("the thread that writes the log has ended")
        return settled.is_set()

    def close(self, *, within: timedelta) -> None:
        """Take in nothing more, and wait until all is written, but not longer than this."""
        with self._change:
            if not self._closed:
                self._tell_of_refused()
            self._closed = True
            self._change.notify_all()
        self._thread.join(within.total_seconds())

    def _tell_of_refused(self) -> None:
        """Where the missing lines would be, say how many they are."""
        if self._untold:
            self._take_in(self._word_loss(self._untold))
            self._untold = 0

    def _take_in(self, line: str) -> None:
        if self._done == self._taken:
            self._moved_at = time.monotonic()
        self._lines.append(line)
        self._taken += 1
        self._change.notify_all()

    def _write(self) -> None:
        while lines := self._next():
            if self._sink.write_all(lines):
                self._tell_of_failed()
            self._settle(len(lines))

    def _next(self) -> list[str]:
        """The lines to be written now; none once it is closed and empty."""
        with self._change:
            self._change.wait_for(lambda: self._lines or self._closed)
            return [self._lines.popleft() for _ in range(min(_AT_ONCE, len(self._lines)))]

    def _tell_of_failed(self) -> None:
        failed = self._sink.lost
        if failed and self._sink.write_all([self._word_loss(failed)]):
            self._sink.lost = 0

    def _settle(self, count: int) -> None:
        with self._change:
            self._done += count
            self._moved_at = time.monotonic()
            ready = [wake for upto, wake in self._waiting if upto <= self._done]
            self._change.notify_all()
        for wake in ready:
            with suppress(RuntimeError):  # the loop has closed meanwhile
                wake()
