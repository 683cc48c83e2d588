"""A process of agents stands still until its work is taken back, and then goes on with it."""

from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.members import one_of, standstill
from tests.faults.blows.outage import drawn
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.schema.world import World
from tests.support.waiting import eventually

_FOUND_WITHIN = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class AgentStopped:
    """It wakes in the belief that it holds what others work on by now."""

    longest: timedelta = timedelta(seconds=7)
    shortest: timedelta = timedelta(seconds=4)
    """Longer than `take_back_after` and a sweep."""
    holds_locks: bool = True
    """It may be stopped in a transaction."""
    name: str = "agent stopped"

    async def strike(self, field: Field) -> str:
        """Stop it, let it continue; the proof is the kernel's word, and who was blocked for it."""
        victim, pid = one_of(field, field.agents)
        lasting = drawn(field, self.longest, self.shortest)
        last = await field.ask(_last_event)
        async with standstill(victim, pid):
            await anyio.sleep(lasting)  # the standstill itself
            # An amnesty may have been in force when it began.
            try:
                silent = await eventually(
                    lambda: field.ask(lambda world: _found_silent(world, last)),
                    within=_FOUND_WITHIN,
                )
            except AssertionError:
                raise await _nobody(field, f"{victim.name} {pid}") from None
        return f"{victim.name} {pid} stopped for {lasting:.2f} s; {silent} agents were blocked"


async def _nobody(field: Field, victim: str) -> Exception:
    """Say why nobody was found silent: it is a defect if nobody looked."""
    led_ago_s = await field.ask(_led_ago_s)
    if led_ago_s > _FOUND_WITHIN.total_seconds():
        return AssertionError(f"no daemon has led for {led_ago_s:.1f} s while {victim} stood still")
    # It was stopped before it had registered anybody, or with all of its rows locked.
    return NotStruck(f"{victim} had nobody to be found silent: {await field.ask(_agents)}")


async def _led_ago_s(world: World) -> float:
    return float(
        await world.value(
            "select extract(epoch from clock_timestamp() - renewed_at) from coordination.leadership"
        )
    )


async def _agents(world: World) -> str:
    return str(
        await world.value(
            "select string_agg(format('%s %s %s, heard %s ago', agent_name, status,"
            " blocked_reason, clock_timestamp() - last_seen), '; ') from agent_status"
        )
    )


async def _last_event(world: World) -> int:
    return int(await world.value("select coalesce(max(sequence), 0) from coordination_events"))


async def _found_silent(world: World, since: int) -> int:
    return int(
        await world.value(
            "select count(*) from coordination_events where sequence > $1"
            " and event = 'agent.blocked' and detail ->> 'reason' in ('stale', 'unresponsive')",
            since,
        )
    )
