"""A battle: load on a field, faults that strike it, and the verdict on what everybody saw.

It runs in three parts. While the load works, faults strike one after the other, with a calm between
them. Then the senders resolve what they have begun, and the agents finish what there is. Then the
daemons drain, so that the log is whole, and the checker decides.
"""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as of
from datetime import timedelta

import anyio

from tests.faults.checker import violations
from tests.faults.evidence import history_of
from tests.faults.fault import Fault, NotStruck, Strike
from tests.faults.field import Field
from tests.faults.history import Note, notes_in
from tests.faults.load.rate import Rate, rate_of
from tests.support.waiting import eventually

MINIMUM = Rate(acknowledged=3.0, completed=5.0)
"""Handoffs a second that a load must achieve, faults and all, or the battle proves nothing."""
AT_WORK_WITHIN = timedelta(seconds=30)
SETTLED_WITHIN = timedelta(seconds=90)
"""How long it may take for the next handoff to end when the last fault is mended."""
LOGGED_WITHIN = timedelta(seconds=60)
_TRIES = 5
"""A fault may find nothing to strike, such as a link on which nobody is just now."""


@dataclass(slots=True)
class Battle:
    """One run: what struck, and what came of it."""

    field: Field
    longest_calm_s: float = 0.8
    """The longest time between two faults."""
    strikes: list[Strike] = of(default_factory=list)
    missed: Counter[str] = of(default_factory=Counter)

    async def strike_each(self, faults: Sequence[Fault], *, times: int) -> None:
        """Let each fault strike so many times, in an order that the dice choose."""
        await eventually(self._all_at_work, within=AT_WORK_WITHIN)
        turns = [fault for fault in faults for _ in range(times)]
        self.field.chance.shuffle(turns)
        for fault in turns:
            for _ in range(_TRIES):
                if await self._strike(fault):
                    break

    async def strike_for(self, faults: Sequence[Fault], duration: timedelta) -> None:
        """Let faults strike at random until the time is over, but each at least once."""
        end = anyio.current_time() + duration.total_seconds()
        await self.strike_each(faults, times=1)
        while anyio.current_time() < end:
            await self._strike(self.field.chance.choice(faults))

    async def verdict(self) -> list[str]:
        """Let everything be finished, stop the daemons, and say which promises were broken."""
        await self.field.quiesce(SETTLED_WITHIN)
        await self.field.drain(LOGGED_WITHIN)
        notes = notes_in(self.field.notes)
        history = await self.field.ask(
            lambda world: history_of(world, notes, self.field.logged, locked=self._locked())
        )
        self._tell(notes)
        return [*map(str, violations(history)), *self._proves_nothing(notes)]

    async def _all_at_work(self) -> bool:
        seen = {note.saw for note in notes_in(self.field.notes)}
        return {"acknowledged", "finished"} <= seen

    def _locked(self) -> list[tuple[int, int]]:
        return [(strike.began, strike.ended) for strike in self.strikes if strike.holds_locks]

    def _proves_nothing(self, notes: Sequence[Note]) -> list[str]:
        struck = {strike.fault for strike in self.strikes}
        never = [f"{fault}: never struck" for fault in self.missed if fault not in struck]
        rate = rate_of(notes)
        if rate.acknowledged < MINIMUM.acknowledged or rate.completed < MINIMUM.completed:
            never.append(f"too little load: {rate}")
        return never

    def _tell(self, notes: Sequence[Note]) -> None:
        struck = Counter(strike.fault for strike in self.strikes)
        told = ", ".join(f"{fault} {count}x" for fault, count in sorted(struck.items()))
        sys.stdout.write(f"{rate_of(notes)}; struck: {told}; missed: {dict(self.missed)}\n")

    async def _strike(self, fault: Fault) -> bool:
        await anyio.sleep(self.field.chance.uniform(0, self.longest_calm_s))  # a random instant
        began = time.monotonic_ns()
        try:
            proof = await fault.strike(self.field)
        except NotStruck as why:
            self.missed[fault.name] += 1
            sys.stdout.write(f"{fault.name} did not strike: {why}\n")
            return False
        else:
            strike = Strike(fault.name, proof, began, time.monotonic_ns(), fault.holds_locks)
            self.strikes.append(strike)
            sys.stdout.write(f"{fault.name}: {proof}\n")
            return True
