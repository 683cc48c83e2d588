"""Where log lines go, and what becomes of them when that place is gone."""

import os
from contextlib import suppress
from typing import TextIO


class LineSink:
    """Writes one line at a time; never raises because of the stream.

    A closed pipe is final: later lines are dropped. Any other trouble (a full disk, a slow reader
    of a non-blocking pipe) costs the line and counts it in `lost`.
    """

    lost: int
    unwritten: int
    """All lines that nobody will read, those after a closed pipe included."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False
        self.lost = 0
        self.unwritten = 0

    def write(self, line: str) -> None:
        """Write the line and its end at once, so that a reader never waits for the rest."""
        if self._gone:
            self.unwritten += 1
            return
        try:
            self._stream.write(_encodable(line, self._stream) + "\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self.unwritten += 1
            self._give_up()
        except OSError:
            self.unwritten += 1
            self.lost += 1

    debug = info = warning = error = write

    def _give_up(self) -> None:
        self._gone = True
        # The interpreter flushes stdout once more at exit; without this it would end with a
        # traceback and exit code 120.
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def _encodable(line: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
