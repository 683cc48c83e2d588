"""Waiting for a notification, but never long: notifications are hints and may be lost."""

from datetime import timedelta

import anyio

_GATHER_S = 0.05


class Doorbell:
    """Remembers a ring until somebody waits for it; however many ring, few of them are heard."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self, _payload: str = "") -> None:
        """Wake whoever waits, or whoever waits next; the payload is a hint that nobody needs."""
        self._rung.set()

    async def wait(self, longest: timedelta) -> None:
        """Return at the first ring since the last wait, or after `longest`."""
        with anyio.move_on_after(longest.total_seconds()):
            await self._rung.wait()
            await anyio.sleep(_GATHER_S)  # any login can ring, and as often as it likes
        self._rung = anyio.Event()
