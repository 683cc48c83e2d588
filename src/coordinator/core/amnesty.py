"""When silence is no proof of death.

Agents beat into the database. While the database or the daemon was away, every heartbeat is old,
and the first sweep would condemn the innocent. So after a start, a take-over, a reconnect, a gap
between two passes, and where very many fall silent at once, no verdict falls until every agent has
had one full `stale_after` to be heard. Deadlines know no amnesty: they are promises, not guesses.
The idea is Nomad's, which gives clients five minutes after a change of leader.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

_A_CROWD = 20
_A_GAP = "passes stood still"
_A_MASS = "more than half of the agents fell silent at once"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one look means: whether verdicts may fall, and what to tell of it."""

    in_force: bool
    granted: str | None = None
    """Why an amnesty began just now."""
    until: datetime | None = None
    ended: bool = False
    """An amnesty ran out just now."""


@dataclass(slots=True)
class Amnesty:
    """The memory of one reign; times are the database's, in the order of the looks.

    `reason` is why the reign begins with one.
    """

    stale_after: timedelta
    longest_gap: timedelta
    reason: str
    _until: datetime | None = field(default=None, init=False)
    _last_look: datetime | None = field(default=None, init=False)
    _crowd_was_heard: bool = field(default=False, init=False)

    def judge(self, now: datetime, *, agents: int, stale: int) -> Ruling:
        """Judge one look: `agents` are not blocked, `stale` of them are silent too long."""
        ended = self._until is not None and now >= self._until
        if ended:
            self._until = None
        granted = self._grounds(now, agents, stale)
        self._last_look = now
        if granted:
            self._until = now + self.stale_after
            self._crowd_was_heard = True
            return Ruling(in_force=True, granted=granted, until=self._until)
        return Ruling(in_force=self._until is not None, until=self._until, ended=ended)

    def _grounds(self, now: datetime, agents: int, stale: int) -> str | None:
        silent_crowd = agents >= _A_CROWD and 2 * stale > agents
        if not silent_crowd and self._until is None:
            self._crowd_was_heard = False
        if self._last_look is None:
            return self.reason
        if not timedelta(0) <= now - self._last_look <= self.longest_gap:
            return _A_GAP
        if silent_crowd and not self._crowd_was_heard:
            return _A_MASS
        return None
