"""Waiting for a notification, but never long: notifications are hints and may be lost."""

from datetime import timedelta

import anyio


class Doorbell:
    """Remembers a ring until somebody waits for it."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self, _payload: str = "") -> None:
        """Wake whoever waits, or whoever waits next; the payload is a hint that nobody needs."""
        self._rung.set()

    async def wait(self, longest: timedelta) -> None:
        """Return at the first ring since the last wait, or after `longest`."""
        with anyio.move_on_after(longest.total_seconds()):
            await self._rung.wait()
        self._rung = anyio.Event()
