"""Which thread of its own a client has had for which chain of handoffs.

It is kept in memory: a runner that starts again begins new threads, and loses nothing but what the
models remember of earlier handoffs.
"""

from uuid import UUID

from coordinator.core.model import Handoff

_MOST = 1000
"""The oldest are forgotten."""


class Threads:
    """By the first handoff of a chain."""

    def __init__(self) -> None:
        self._by_root: dict[UUID, str] = {}

    def of(self, handoff: Handoff) -> str | None:
        """Return the thread for this handoff's chain, if there is one."""
        return self._by_root.get(handoff.root_id)

    def note(self, handoff: Handoff, thread: str | None) -> None:
        """Note which thread to go on in; None forgets the one that was."""
        self._by_root.pop(handoff.root_id, None)
        if thread is None:
            return
        while len(self._by_root) >= _MOST:
            self._by_root.pop(next(iter(self._by_root)))
        self._by_root[handoff.root_id] = thread
