"""What a command wrote, with a bound: its beginning and its end, and how much is missing between.

A command may write without end; memory may not grow with it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Written:
    """A text that a command wrote; `left_out` bytes are missing from its middle."""

    text: str = ""
    left_out: int = 0

    def tail(self, most: int) -> str:
        """Return the last `most` characters, without blank space around them."""
        return self.text.strip()[-most:].lstrip()


class Capture:
    """Takes bytes as they come, and keeps at most `head` and `tail` bytes of them."""

    def __init__(self, *, head: int, tail: int) -> None:
        self._head_size = head
        self._tail_size = tail
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, chunk: bytes) -> None:
        """Take what was read."""
        room = self._head_size - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        # Cut seldom: each cut moves the whole tail.
        if len(self._tail) > 2 * self._tail_size:
            self._cut()

    def written(self) -> Written:
        """Return it as text; bytes that are no UTF-8 become U+FFFD."""
        self._cut()
        if not self._left_out:
            return Written((self._head + self._tail).decode(errors="replace"))
        mark = f"\n[… {self._left_out} bytes left out …]\n"
        head, tail = (part.decode(errors="replace") for part in (self._head, self._tail))
        return Written(head + mark + tail, self._left_out)

    def _cut(self) -> None:
        surplus = len(self._tail) - self._tail_size
        if surplus > 0:
            del self._tail[:surplus]
            self._left_out += surplus
