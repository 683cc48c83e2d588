"""The listener's link is proven by what is heard, and asks for an echo only where nothing is."""

from datetime import datetime, timedelta

from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.hearing import hears, is_pooled
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.pooler import free_port
from tests.support.postgres import Database
from tests.support.waiting import eventually


async def test_a_listener_that_hears_the_sweep_asks_for_no_echo(
    database: Database, world: World
) -> None:
    async with leader(database, sweep_interval="50ms", listener_probe="1s"):
        began = await world.value("select clock_timestamp()")
        asked_last = await last_statement_of_the_listener(world)

        await eventually(lambda: reign_is_renewed_after(world, began, timedelta(seconds=2)))

        assert await last_statement_of_the_listener(world) == asked_last


async def test_a_listener_that_hears_nothing_asks_for_an_echo(
    database: Database, world: World
) -> None:
    async with leader(database, listener_probe="100ms"):
        asked_last = await last_statement_of_the_listener(world)

        async def asked_again() -> bool:
            return await last_statement_of_the_listener(world) > asked_last

        await eventually(asked_again)


async def test_a_direct_connection_hears_and_is_not_taken_for_a_pooled_one(
    database: Database,
) -> None:
    connection = await Connection.open(connect_target(database.dsn), application_name="test")
    try:
        assert await hears(connection)
        assert not await is_pooled(connection)
    finally:
        await connection.close()


async def test_a_connection_knows_which_of_the_hosts_it_leads_to(database: Database) -> None:
    [server] = connect_target(database.dsn).hosts
    target = connect_target(
        f"user=postgres dbname={database.name} host=127.0.0.1,{server.host}"
        f" port={free_port()},{server.port}"
    )

    connection = await Connection.open(target, application_name="test")
    try:
        assert connection.target.hosts == (server,)
    finally:
        await connection.close()


async def last_statement_of_the_listener(world: World) -> datetime:
    at: datetime = await world.value(
        "select query_start from pg_stat_activity where datname = current_database()"
        " and application_name = 'coordinator listener'"
    )
    return at


async def reign_is_renewed_after(world: World, moment: datetime, later: timedelta) -> bool:
    return bool(
        await world.value(
            "select renewed_at > $1::timestamptz + $2::interval from coordination.leadership",
            moment,
            later,
        )
    )
