"""The listener link: a connection of its own that holds the LISTENs, and proof that it hears.

A half-open link is silent for ever, and a transaction-mode pooler accepts LISTEN and never
delivers. So the daemon notifies itself at the start, and again after `listener_probe` of silence,
and counts the link as lost when the echo stays out. In quiet times it is the sweep that breaks the
silence: each look of it notifies, so that nothing is asked for the proof alone.

The kernel notices a dead TCP connection as soon (see `Keepalive`), but only as far as the next
machine: a probe goes the whole way, through poolers and relays. Silence and echo take six seconds
at most, and leading again one more, so that a silent loss costs less than ten.
"""

import json
from datetime import timedelta
from typing import Final
from uuid import uuid4

import anyio

from coordinator.core.errors import StoreUnavailable
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.daemon.wakeup import heard
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.hearing import arrives, deaf

ANSWER_WITHIN: Final = timedelta(seconds=5)
"""The limit of every statement on the leader's connection."""
_ECHO_WITHIN: Final = timedelta(seconds=3)
_PROBE = "probe"


class Listener:
    """The doorbells, on the leader's connection."""

    def __init__(self, parts: Parts, connection: Connection) -> None:
        self._parts = parts
        self._connection = connection
        self._heard_at = anyio.current_time()
        self._nonce = ""
        self._echo = anyio.Event()

    async def begin(self) -> None:
        """Listen, and prove that notifications arrive.

        Raises ConfigError when none does though the server answers: a pooler is in between.
        """
        await self._connection.listen("handoffs", self._hear)
        await self._connection.listen("agent_status", self._hear)
        await self._connection.listen("leadership", self._hear_proof)
        # From another connection: a pooler in transaction mode may hand our own echo back to us.
        stranger = await self._parts.connect("probe")
        try:
            await self._ring(stranger)
        finally:
            await stranger.close()
        if not await arrives(self._echo, self._connection):
            raise deaf(self._connection.target)

    async def keep_probing(self) -> None:
        """Probe until drained; raises StoreUnavailable when the link is lost or deaf."""
        with self._parts.progress.watch(
            "listener", within=grace(self._parts.settings.listener_probe)
        ):
            while not self._parts.drain.is_set():
                await pause(self._proven_for(), self._parts.drain, self._connection.lost)
                if self._connection.lost.is_set():
                    raise StoreUnavailable("the listener's connection was closed")
                if self._parts.drain.is_set():
                    return
                if self._proven_for() <= timedelta(0) and not await self._echoes():
                    self._connection.hang_up()
                    raise StoreUnavailable(
                        "the listener has gone deaf", "its own notification did not come back"
                    )
                self._parts.progress.mark("listener")

    def _proven_for(self) -> timedelta:
        """How long what was heard last still proves that the link hears; then below zero."""
        silence = timedelta(seconds=anyio.current_time() - self._heard_at)
        return self._parts.settings.listener_probe - silence

    async def _echoes(self) -> bool:
        with anyio.move_on_after(_ECHO_WITHIN.total_seconds()):
            await self._ring(self._connection)
            await self._echo.wait()
        return self._echo.is_set()

    async def _ring(self, ringer: Connection) -> None:
        self._nonce, self._echo = uuid4().hex, anyio.Event()
        await passes.ring_self(ringer, json.dumps({_PROBE: self._nonce}))

    def _hear_proof(self, _: str = "") -> None:
        self._heard_at = anyio.current_time()

    def _hear(self, payload: str) -> None:
        self._hear_proof()
        if payload.startswith(f'{{"{_PROBE}"'):
            if self._nonce in payload:
                self._echo.set()
            return
        wanted = heard(payload)
        if wanted:
            self._parts.dispatch.ring_for(wanted)
        self._parts.tail.ring()
