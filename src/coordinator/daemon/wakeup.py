"""What woke the dispatcher: the addresses and agents that changed, or everything.

Wake-ups coalesce while a pass runs. A notification is a hint: what it names is looked up, what it
fails to name is found by the next full scan, and one that cannot be read means: look everywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import anyio


@dataclass(slots=True)
class Wanted:
    """Where to look: these addresses, those of these agents, or everywhere."""

    addresses: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    everywhere: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return self.everywhere or bool(self.addresses or self.agents)


class WakeUp:
    """Rings from any callback of the event loop, and one loop that waits for them."""

    def __init__(self) -> None:
        self._wanted = Wanted()
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Ask for a look everywhere."""
        self._wanted.everywhere = True
        self._rung.set()

    def ring_for(self, wanted: Wanted) -> None:
        """Ask for a look at these."""
        self._wanted.addresses |= wanted.addresses
        self._wanted.agents |= wanted.agents
        self._wanted.everywhere |= wanted.everywhere
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
    return all(isinstance(name, str) and _storable(name) for name in names)


def _storable(name: str) -> bool:
    """Whether PostgreSQL takes it: no NUL, and no half of a surrogate pair, as JSON may have."""
    try:
        return "\0" not in name and bool(name.encode())
    except UnicodeEncodeError:
        return False
