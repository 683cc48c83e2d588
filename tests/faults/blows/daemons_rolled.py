"""A rolling restart: one daemon after the other is stopped in order, and started anew."""

import signal
from dataclasses import dataclass
from datetime import timedelta

from tests.faults.blows.members import another_life
from tests.faults.fault import NotStruck
from tests.faults.field import Field, Member
from tests.support.waiting import eventually

_READY_WITHIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class DaemonsRolled:
    """As an upgrade does it: the next one is stopped once the former is ready again."""

    holds_locks: bool = False
    name: str = "daemons rolled"

    async def strike(self, field: Field) -> str:
        """Restart each that runs; the proof is their pids before and after."""
        rolled = [await _restart(member) for member in field.daemons if member.pid is not None]
        if not rolled:
            raise NotStruck("no daemon was running")
        return "; ".join(rolled)


async def _restart(member: Member) -> str:
    process = member.process
    if process is None or not member.kill(signal.SIGTERM):
        raise NotStruck(f"{member.name} had gone already")
    before, code = process.pid, await process.wait()
    after = await another_life(member, before)
    await eventually(lambda: _is_ready(member), within=_READY_WITHIN)
    return f"{member.name} {before} ended with {code}, now {after}"


async def _is_ready(member: Member) -> bool:
    return member.process is not None and bool(member.process.logged("daemon.ready"))
