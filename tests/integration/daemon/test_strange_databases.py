"""Databases with defaults of their own: the daemon sets what it needs, whatever they say."""

from datetime import timedelta

from tests.integration.daemon.daemons import QUICK_SILENCE, QUICK_SWEEP, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database

STRANGE_DEFAULTS = {
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_min_messages": "debug1",
    "plan_cache_mode": "force_generic_plan",
    "enable_indexscan": "off",
    "jit_above_cost": "0",
    "lock_timeout": "1s",
    "xmloption": "document",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "check_function_bodies": "off",
    "synchronous_commit": "off",
}


async def test_strange_defaults_of_the_database_change_nothing(
    database: Database, world: World
) -> None:
    await with_defaults(world, database, **STRANGE_DEFAULTS)
    async with leader(database, QUICK_SWEEP) as process, World.on(database) as stranger:
        ada = await stranger.agent("ada")
        handoff_id = await stranger.handoff("ada")
        await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
        await stranger.complete(handoff_id, 1, ada)
        await process.seen("handoff.succeeded", handoff_id=str(handoff_id))

        assert not process.logged("pass.failed")


async def test_idle_sessions_of_the_daemon_are_not_ended_by_the_databases_default(
    database: Database, world: World
) -> None:
    await with_defaults(world, database, idle_session_timeout="200ms")
    async with leader(database, QUICK_SILENCE) as process:
        await process.seen("amnesty.ended", within=timedelta(seconds=5))

        assert not process.logged("store.lost")


async def test_a_short_statement_timeout_of_the_database_does_not_bind_the_daemon(
    database: Database, world: World
) -> None:
    await with_defaults(world, database, statement_timeout="1ms")
    async with leader(database) as process:
        await world.agent("ada")
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " select 'eve', 'nobody', 'do it' from generate_series(1, 3000)"
        )
        handoff_id = await world.handoff("ada")

        await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
        assert not process.logged("pass.failed")


async def test_agents_may_have_any_printable_name(database: Database, world: World) -> None:
    names = ["handoffs", "'; drop table handoffs; --", "ädä ☃ 😀", "x" * 128, "*", "{a,b}", "\\"]
    for name in names:
        await world.agent(name)
    async with leader(database) as process:
        for name in names:
            await world.handoff(name)

        for name in names:
            await process.seen("handoff.dispatched", agent=name, to_agent=name)


async def with_defaults(world: World, database: Database, **defaults: str) -> None:
    """Set defaults for every session of the database that begins from now on."""
    for name, value in defaults.items():
        await world.execute(f"alter database {database.name} set {name} = {value!r}")
