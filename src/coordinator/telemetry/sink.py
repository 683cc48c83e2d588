"""Where log lines go, and what becomes of them when that place is gone.

Lines are written to the descriptor itself: a thread that waits in the buffer of `sys.stdout` would
bring the interpreter down at its exit.
"""

import io
import os
import select
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from typing import TextIO


class LineSink:
    """Writes whole lines; never raises because of the stream. It waits while nobody reads.

    A closed pipe is final: later lines are dropped. Any other trouble, such as a full disk, costs
    the lines and counts them in `lost`.
    """

    lost: int
    unwritten: int
    """All lines that nobody will read, those after a closed pipe included."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._gone = False
        self._torn = False
        self.lost = 0
        self.unwritten = 0

    def write(self, line: str) -> None:
        """Write the line and its end at once, so that a reader never waits for the rest."""
        self.write_all([line])

    def write_all(self, lines: Sequence[str]) -> bool:
        """Write the lines, each with its end; False where some of them could not be written."""
        if self._gone:
            self.unwritten += len(lines)
            return False
        encoded = [f"{line}\n".encode(self._encoding, "backslashreplace") for line in lines]
        if self._torn:
            encoded[0] = b"\n" + encoded[0]  # after half a line, from when the disk was full
        done = self._put(b"".join(encoded))
        ends = list(accumulate(map(len, encoded)))
        whole = bisect_right(ends, done)
        self._torn = done > (ends[whole - 1] if whole else 0)
        missing = len(lines) - whole
        self.unwritten += missing
        self.lost += missing
        return not missing

    def _put(self, data: bytes) -> int:
        """Write as much as possible; return how much that was."""
        done, rest = 0, memoryview(data)
        try:
            while done < len(data):
                done += self._put_some(rest[done:])
        except (BrokenPipeError, ValueError):
            self._give_up()
        except OSError:
            return done
        return done

    def _put_some(self, data: memoryview) -> int:
        if self._descriptor is None:
            self._stream.write(bytes(data).decode(self._encoding))
            self._stream.flush()
            return len(data)
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # somebody else has made the pipe non-blocking
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0

    def _give_up(self) -> None:
        self._gone = True
        # The interpreter flushes stdout once more at exit; without this it would end with a
        # traceback and exit code 120.
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def _descriptor(stream: TextIO) -> int | None:
    """The stream's own descriptor, if it has one; what it has buffered goes first."""
    try:
        stream.flush()
        return stream.fileno()
    except (io.UnsupportedOperation, OSError, ValueError):
        return None
