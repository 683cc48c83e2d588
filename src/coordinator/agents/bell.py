"""A bell: rung from any callback, waited for by a task. A ring while nobody waits is kept."""

from datetime import timedelta

import anyio


class Bell:
    """Rings coalesce: whoever is woken looks at everything there is."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or the next one to wait."""
        self._rung.set()

    async def wait(self, at_most: timedelta | None = None) -> None:
        """Return once it was rung, or after `at_most` (None: wait for ever)."""
        with anyio.move_on_after(None if at_most is None else at_most.total_seconds()):
            await self._rung.wait()
        # Only a rung one is renewed: another task may be waiting for this very event.
        if self._rung.is_set():
            self._rung = anyio.Event()
