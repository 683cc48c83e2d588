"""When a process has gone: its tether, a lock that lives as long as its session, has vanished.

A heartbeat that stays out says so after two minutes; a session that ends says so at once, and could
still be a moment's trouble on the way. So whoever's tether was seen, and then is not seen for a
whole `grace`, has gone. Whose tether was never seen (plain SQL, a call through PostgREST) is judged
by heartbeats alone. Where more than half of very many vanish within half a minute, the way to them
is broken, not they: heartbeats decide about all that are not judged by then.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

_A_CROWD = 20
_TOGETHER = 30.0
"""Seconds: sessions end by time limits that began with each one's own last word."""
_FORGOTTEN_AFTER = 3600.0


@dataclass(slots=True)
class Tethers:
    """The memory of one reign; moments are seconds of any one clock that nobody sets."""

    _seen: set[int] = field(default_factory=set)
    _missing: dict[int, float] = field(default_factory=dict)
    """Since when, of those that can be judged."""
    _vanished: dict[int, float] = field(default_factory=dict)
    """When, of all that are missing since less than half a minute."""

    def judge(
        self,
        tethered: Iterable[int],
        holding: Mapping[int, Iterable[UUID]],
        *,
        now: float,
        grace: timedelta,
    ) -> list[UUID]:
        """Take in one look; return the incarnations that have gone, of those that hold work.

        `tethered` and the keys of `holding` are the numbers of tethers.
        """
        there = set(tethered)
        vanished = dict.fromkeys(self._seen - there, now)
        self._missing = _still(vanished | self._missing, there, now - _FORGOTTEN_AFTER)
        self._vanished = _still(vanished | self._vanished, there, now - _TOGETHER)
        self._seen = there
        crowd = len(there) + len(self._vanished)
        if crowd >= _A_CROWD and len(self._vanished) > crowd / 2:
            self.forget(self._vanished)
        over = now - grace.total_seconds()
        gone = [one for one, since in self._missing.items() if since <= over and one in holding]
        return [incarnation for one in gone for incarnation in holding[one]]

    def forget(self, ones: Iterable[int]) -> None:
        """Leave these to their heartbeats, until they are seen again."""
        for one in ones:
            self._missing.pop(one, None)


def _still(missing: Mapping[int, float], there: Container[int], after: float) -> dict[int, float]:
    return {one: since for one, since in missing.items() if one not in there and since > after}
