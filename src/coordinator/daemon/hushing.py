"""The hush: in a burst nobody need ring, since the leader looks by itself.

Commits that notify queue behind one lock of the whole server, some 5,000 of them a second. So once
many ring, the leader sets a flag that silences them, and reads every two milliseconds what changed,
from the audit trail: cost follows what changed, and no forged notification is in it.

    quiet ──many rings──▶ hushed ──nothing new for ¼ s──▶ owing ──all silent ones ended──▶ quiet
                             ▲                              │
                             └───────── many rings ─────────┘

Whoever saw the flag may end long after it was taken back, silently. So the leader owes: it reads
on, less and less often, until a read whose own snapshot shows that every transaction begun before
the flag was down has ended. Only then it relies on being rung. A reign begins owing, for the dead
leader's silent ones. docs/decisions/0021 has the proof, tests/model/doorbell explores it.
"""

from dataclasses import dataclass
from datetime import timedelta
from math import inf

from coordinator.daemon.wakeup import WakeUp
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.passes import Changes, Debt

_READ_EVERY_S = 0.002
_LINGER_S = 0.25
"""How long nothing new may be found: on a slow disk commits are ten milliseconds apart."""
_LONGEST_DISTRUST_S = 60.0


@dataclass(slots=True)
class Hush:
    """Whether the leader looks by itself, and what it owes; of one reign."""

    connection: Connection
    term: int
    wake_up: WakeUp
    hushed: bool = True
    """Nobody need ring. A reign begins as though its predecessor had left it so."""
    _debt: Debt | None = None
    _seen: str | None = None
    """Up to where the changes were read; None while everything rings."""
    _since: float = 0.0
    """When everybody was told to ring."""
    _found_at: float = -inf
    _found_any: bool = True
    _distrust: float = 0.0
    """How long not to hush after a hush in vain, in seconds: somebody rings for nothing."""
    _not_before: float = -inf
    _read_at: float = -inf
    """The moment of the next read. What rings before is looked at by name, and hastens no read."""

    @property
    def attends(self) -> bool:
        """Whether somebody may not ring, so that changes are to be read."""
        return self.hushed or self._seen is not None

    def is_due(self, now: float) -> bool:
        """Whether it is time for a read."""
        return self.attends and now >= self._read_at

    def pause(self, now: float) -> timedelta | None:
        """How long to wait for the next read; None: until somebody rings."""
        return timedelta(seconds=max(self._read_at - now, 0)) if self.attends else None

    def rest(self, *, now: float) -> None:
        """Set the moment of the next read, at the end of a turn that had one."""
        quiet = (
            min(now - self._found_at, _LINGER_S) / 8 if self.hushed else (now - self._since) / 16
        )
        self._read_at = now + max(_READ_EVERY_S, quiet)

    async def settle(self, *, above: int, now: float) -> None:
        """Silence those who ring, or let them ring again, as the last reads suggest.

        `above` is how many rings a second are too many; 0: nobody is ever silenced.
        """
        if self.hushed:
            if not above or now - self._found_at >= _LINGER_S:
                await self._let_ring(now)
        elif now >= self._not_before and self.wake_up.rings_faster(than=above, now=now):
            await self._silence(now)

    async def changes(self, *, now: float) -> Changes:
        """Read what changed since the last read; ValueError where there was none to begin with."""
        if self._seen is None:
            raise ValueError("nothing is read while everybody rings")
        found = await passes.read_changes(self.connection, seen=self._seen, debt=self._debt)
        self._seen = found.seen
        if found.addresses or found.agents:
            self._found_at, self._found_any = now, True
        if found.paid:
            self._debt = self._seen = None
        return found

    async def _silence(self, now: float) -> None:
        # Setting it is not undone: where the answer is lost it is up, and the next look ends it.
        self.hushed, self._found_at = True, -inf
        seen = await passes.hush(self.connection, term=self.term)
        if seen is None:
            self.hushed = False
            return
        self._seen, self._debt = self._seen or seen, None
        self._read_at = self._found_at = now
        self._found_any = False

    async def _let_ring(self, now: float) -> None:
        await passes.unhush(self.connection)
        debt = await passes.owe(self.connection)
        self._seen = self._seen or debt.seen
        self.hushed, self._debt = False, debt
        self._read_at = self._since = now
        self._distrust = (
            0 if self._found_any else min(max(self._distrust * 2, 1), _LONGEST_DISTRUST_S)
        )
        self._not_before = now + self._distrust
