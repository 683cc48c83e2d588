"""When a process has gone: its tether, a lock that lives as long as its session, has vanished.

A heartbeat that stays out says so after two minutes; a session that ends says so at once, and could
still be a moment's trouble on the way. So whoever's tether was seen, and then is not seen for a
whole `grace`, has gone. Whose tether was never seen (plain SQL, a call through PostgREST) is judged
by heartbeats alone. Where more than half of very many vanish at once, the way to them is broken,
not they: then heartbeats decide as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

_A_CROWD = 20
_FORGOTTEN_AFTER = timedelta(hours=1)


@dataclass(slots=True)
class Tethers:
    """The memory of one reign; moments are seconds of any one clock that nobody sets."""

    _seen: set[int] = field(default_factory=set)
    _missing: dict[int, float] = field(default_factory=dict)
    """Since when; of a crowd that vanished together, nobody."""

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
        vanished = self._seen - there
        if len(self._seen) >= _A_CROWD and len(vanished) > len(self._seen) / 2:
            vanished = set()
        forgotten = now - _FORGOTTEN_AFTER.total_seconds()
        missing = dict.fromkeys(vanished, now) | self._missing
        self._missing = {
            one: since for one, since in missing.items() if one not in there and since > forgotten
        }
        self._seen = there
        over = now - grace.total_seconds()
        gone = [one for one, since in self._missing.items() if since <= over and one in holding]
        return [incarnation for one in gone for incarnation in holding[one]]
