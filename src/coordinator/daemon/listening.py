"""The listener link: a connection of its own that holds the LISTENs, and proof that it hears.

A half-open link is silent for ever, and a transaction-mode pooler accepts LISTEN and never
delivers. So the daemon notifies itself, at the start and every `listener_probe`, and counts the
link as lost when the echo stays out.
"""

import json
from datetime import timedelta
from typing import Final
from uuid import uuid4

import anyio

from coordinator.core.errors import ConfigError, StoreUnavailable
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.daemon.wakeup import heard
from coordinator.store import passes
from coordinator.store.connection import Connection

ECHO_WITHIN: Final = timedelta(seconds=5)
_PROBE = "probe"


class Listener:
    """The doorbells, on the leader's connection."""

    def __init__(self, parts: Parts, connection: Connection) -> None:
        self._parts = parts
        self._connection = connection
        self._nonce = ""
        self._echo = anyio.Event()

    async def begin(self) -> None:
        """Listen, and prove that notifications arrive.

        Raises ConfigError when none does though the server answers: a pooler is in between.
        """
        await self._connection.listen("handoffs", self._hear)
        await self._connection.listen("agent_status", self._hear)
        # From another connection: a pooler in transaction mode may hand our own echo back to us.
        stranger = await self._parts.connect("probe")
        try:
            proven = await self._probe(stranger)
        finally:
            await stranger.close()
        if not proven:
            raise ConfigError(
                f"no notification arrives over {self._connection.target}",
                "LISTEN was accepted but never delivers, as behind a pooler in transaction mode",
                "Connect directly or by a pooler in session mode (Supabase: port 5432, not 6543).",
            )

    async def keep_probing(self) -> None:
        """Probe until drained; raises StoreUnavailable when the link is lost or deaf."""
        with self._parts.progress.watch(
            "listener", within=grace(self._parts.settings.listener_probe)
        ):
            while not self._parts.drain.is_set():
                await pause(
                    self._parts.settings.listener_probe, self._parts.drain, self._connection.lost
                )
                if self._connection.lost.is_set():
                    raise StoreUnavailable("the listener's connection was closed")
                if not self._parts.drain.is_set() and not await self._probe(self._connection):
                    self._connection.hang_up()
                    raise StoreUnavailable(
                        "the listener has gone deaf", "its own notification did not come back"
                    )
                self._parts.progress.mark("listener")

    async def _probe(self, ringer: Connection) -> bool:
        self._nonce, self._echo = uuid4().hex, anyio.Event()
        await passes.ring_self(ringer, json.dumps({_PROBE: self._nonce}))
        with anyio.move_on_after(ECHO_WITHIN.total_seconds()):
            await self._echo.wait()
        return self._echo.is_set()

    def _hear(self, payload: str) -> None:
        if payload.startswith(f'{{"{_PROBE}"'):
            if self._nonce in payload:
                self._echo.set()
            return
        wanted = heard(payload)
        if wanted:
            self._parts.dispatch.ring_for(wanted)
        self._parts.tail.ring()
