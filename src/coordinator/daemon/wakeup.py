"""What woke the dispatcher: the addresses and agents that changed, or everything.

Wake-ups coalesce while a pass runs. A notification is a hint: what it names is looked up, what it
fails to name is found by the next full scan, and one that cannot be read means: look everywhere.
Any login of the database can send one, so hints take little memory here, and the dispatcher limits
how often they make it look in vain.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import anyio

_MOST_NAMES = 1000
_LONGEST_NAME = 128
_RINGS = 16
"""How many notifications make a rate."""


@dataclass(slots=True)
class Wanted:
    """Where to look: these addresses, those of these agents, or everywhere."""

    addresses: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    everywhere: bool = False
    at_once: bool = False
    """Everywhere, and the daemon itself asks for it: no limit holds."""

    def add(self, other: "Wanted") -> None:
        """Want that too."""
        self.addresses |= other.addresses
        self.agents |= other.agents
        self.everywhere |= other.everywhere
        self.at_once |= other.at_once

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return self.everywhere or bool(self.addresses or self.agents)


class WakeUp:
    """Rings from any callback of the event loop, and one loop that waits for them."""

    def __init__(self) -> None:
        self._wanted = Wanted()
        self._rung = anyio.Event()
        self._rung_at: deque[float] = deque(maxlen=_RINGS)

    def ring(self) -> None:
        """Ask for a look everywhere, at once."""
        self.ring_again(Wanted(everywhere=True, at_once=True))

    def ring_for(self, wanted: Wanted) -> None:
        """Ask for a look at what a notification names; very many names mean everywhere."""
        self._rung_at.append(anyio.current_time())
        self.ring_again(wanted)
        if len(self._wanted.addresses) + len(self._wanted.agents) > _MOST_NAMES:
            self._wanted = Wanted(everywhere=True, at_once=self._wanted.at_once)

    def rings_faster(self, *, than: int, now: float) -> bool:
        """Whether the last ones, until now, came faster than so many a second; 0: never."""
        known = than > 0 and len(self._rung_at) == _RINGS
        return known and now - self._rung_at[0] <= _RINGS / than

    def ring_again(self, wanted: Wanted) -> None:
        """Ask for another look at what was looked at, however much that is."""
        self._wanted.add(wanted)
        self._rung.set()

    async def wait(self, at_most: timedelta) -> Wanted:
        """Return what was rung for, at once if something was; nothing after `at_most`."""
        with anyio.move_on_after(max(at_most.total_seconds(), 0)):
            await self._rung.wait()
        # Cleared before the pass begins: what rings during it belongs to the next one.
        wanted, self._wanted = self._wanted, Wanted()
        self._rung = anyio.Event()
        return wanted


def heard(payload: str) -> Wanted:
    """Read a notification of the doorbell channels."""
    match _parsed(payload):
        case {"event": "queued", "addresses": [*names]} if _texts(names):
            return Wanted(addresses=set(names))
        case {"event": "idle", "agents": [*names]} if _texts(names):
            return Wanted(agents=set(names))
        case {"event": str(), "agents": [*_]}:
            return Wanted()
        case _:
            return Wanted(everywhere=True)


def _parsed(payload: str) -> object:
    try:
        parsed: object = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, Mapping) else None


def _texts(names: list[object]) -> bool:
    return all(isinstance(name, str) and _possible(name) for name in names)


def _possible(name: str) -> bool:
    """Whether there can be such a name: not too long, no NUL, no half of a surrogate pair."""
    try:
        return len(name) <= _LONGEST_NAME and "\0" not in name and bool(name.encode())
    except UnicodeEncodeError:
        return False
