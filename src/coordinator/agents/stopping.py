"""Whether a process should stop, as signals say: the first asks, the second is in a hurry."""

import signal
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskStatus


@dataclass(frozen=True, slots=True)
class Stopping:
    """What was asked so far."""

    asked: anyio.Event = field(default_factory=anyio.Event)
    in_a_hurry: anyio.Event = field(default_factory=anyio.Event)

    async def hear(self, *, task_status: TaskStatus[None]) -> None:
        """Take SIGTERM and SIGINT, for ever."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                (self.in_a_hurry if self.asked.is_set() else self.asked).set()
