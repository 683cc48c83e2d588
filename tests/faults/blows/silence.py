"""What a silent link leaves behind: a client that vanished in a transaction still has its locks."""

from datetime import datetime, timedelta

from tests.faults.field import Field
from tests.integration.schema.world import World
from tests.support.waiting import eventually

_NOTICED_WITHIN = timedelta(seconds=20)
"""The server and the pooler look after their clients as `field_afar` has set them up."""


async def what_vanished_has_gone(field: Field) -> None:
    """Return once every transaction that was idle before now has ended."""
    now: datetime = await field.ask(_now)

    async def all_ended() -> bool:
        return not await field.ask(lambda world: _idle_since_before(world, now))

    await eventually(all_ended, within=_NOTICED_WITHIN)


async def _now(world: World) -> datetime:
    at: datetime = await world.value("select clock_timestamp()")
    return at


async def _idle_since_before(world: World, now: datetime) -> bool:
    return bool(
        await world.value(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and state like 'idle in transaction%' and state_change < $1)",
            now,
        )
    )
