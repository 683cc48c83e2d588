"""All sessions are ended, again and again, so that those who reconnect are cut off once more."""

from dataclasses import dataclass

import anyio

from tests.faults.blows.sessions import end_all
from tests.faults.fault import NotStruck
from tests.faults.field import Field

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.4


@dataclass(frozen=True, slots=True)
class ReconnectStorm:
    """As behind a load balancer that cannot make up its mind."""

    rounds: int = 5
    holds_locks: bool = False
    name: str = "reconnect storm"

    async def strike(self, field: Field) -> str:
        """End all there are, so many times; the proof is how many came back to be ended."""
        ended = []
        for _ in range(self.rounds):
            ended.append(await field.ask(end_all))
            pause = field.chance.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S)
            await anyio.sleep(pause)  # the time to come back
        if not any(ended[1:]):
            raise NotStruck(f"nobody came back: {ended}")
        return f"ended {ended} sessions"
