"""The bell: who rings, who need not, and that nobody who kept silent is overlooked.

The directed test is the one that random load does not replace: it holds back the youngest writer,
which the end of a snapshot does not cover, since that is the youngest *ended* transaction.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from coordinator.store import passes
from coordinator.store.passes import Changes, Debt
from tests.integration.schema.test_notifications import Ear, listening
from tests.integration.schema.world import World
from tests.support.postgres import Connection, Database
from tests.support.waiting import eventually


@pytest.fixture
async def ear(database: Database) -> AsyncIterator[Ear]:
    """Listens on both doorbells."""
    async with listening(database) as ear:
        yield ear


class Run:
    """Runs the daemon's statements on a test's connection."""

    def __init__(self, world: World) -> None:
        self.run = world.run


async def hush(world: World, *, term: int = 0) -> str:
    """Hush as the leader of a term; a snapshot from before, nothing where another one leads."""
    return await passes.hush(Run(world), term=term) or ""


async def changes(world: World, seen: str, debt: Debt | None = None) -> Changes:
    """Read what changed since a snapshot."""
    return await passes.read_changes(Run(world), seen=seen, debt=debt)


async def settled(world: World, seen: str, debt: Debt) -> set[str]:
    """Read until the debt is paid, since others may write too; which addresses were named."""
    named: set[str] = set()
    while True:
        found = await changes(world, seen, debt)
        named.update(found.addresses)
        if found.paid:
            return named
        seen = found.seen
        await anyio.sleep(0.01)


@asynccontextmanager
async def writing(database: Database) -> AsyncIterator[Connection]:
    """A transaction that is under way."""
    async with database.connect() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.commit()


DELAYED = (
    "insert into handoffs (from_agent, to_agent, task_description, available_at)"
    " values ('eve', 'later', 'do it', now() + interval '1 hour')"
)
INSERT = "insert into handoffs (from_agent, to_agent, task_description) values ('eve', $1, 'do it')"

# --- who rings ------------------------------------------------------------------------------------


async def test_while_hushed_neither_new_work_nor_a_free_agent_rings(
    committed: World, ear: Ear
) -> None:
    ada = await committed.agent("ada")
    held = await committed.handoff("ada")
    await committed.dispatch("ada")
    await ear.since()
    await hush(committed)

    await committed.handoff("bob")
    await committed.complete(held, 1, ada)
    await committed.agent("cleo")

    assert await ear.since() == []


async def test_after_the_hush_everything_rings(committed: World, ear: Ear) -> None:
    await hush(committed)
    await passes.unhush(Run(committed))

    await committed.handoff("bob")

    assert await ear.since() == [("handoffs", {"event": "queued", "addresses": ["bob"]})]


@pytest.mark.matrix
async def test_a_writer_with_an_old_snapshot_sees_the_bell_as_it_is(
    committed: World, database: Database, ear: Ear
) -> None:
    async with database.connect() as writer:
        async with writer.transaction(isolation="repeatable_read"):
            await writer.fetchval("select count(*) from handoffs")
            await hush(committed)
            await writer.execute(INSERT, "ada")
        assert await ear.since() == []

        async with writer.transaction(isolation="serializable"):
            await writer.fetchval("select count(*) from handoffs")
            await passes.unhush(Run(committed))
            await writer.execute(INSERT, "bob")

    assert await ear.since() == [("handoffs", {"event": "queued", "addresses": ["bob"]})]


async def test_a_bell_that_is_set_stays_set_though_its_transaction_is_undone(
    committed: World, database: Database, ear: Ear
) -> None:
    """So a daemon can never believe that it is down while it is up."""
    async with database.connect() as leader:
        transaction = leader.transaction()
        await transaction.start()
        await leader.execute("select setval('coordination.bell', 2)")
        await transaction.rollback()

    await committed.handoff("ada")

    assert await ear.since() == []


@pytest.mark.parametrize("change", ["due = true", "available_at = now()"])
async def test_what_leaves_no_event_rings_though_hushed(
    committed: World, ear: Ear, change: str
) -> None:
    await committed.execute(DELAYED)
    await hush(committed)
    await ear.since()

    await committed.execute(f"update handoffs set {change}")

    assert len(await ear.since()) == 1


async def test_who_no_longer_leads_silences_nobody(committed: World, ear: Ear) -> None:
    await committed.execute("update coordination.leadership set term = 7")

    assert await hush(committed, term=6) == ""

    await committed.handoff("ada")
    assert len(await ear.since()) == 1


async def test_who_is_replaced_while_it_hushes_silences_nobody(
    committed: World, database: Database, ear: Ear
) -> None:
    async with database.connect() as next_leader, anyio.create_task_group() as tasks:
        beginning = next_leader.transaction()
        await beginning.start()
        await next_leader.execute("update coordination.leadership set term = 7")
        tasks.start_soon(hush, committed)
        await eventually(lambda: waits(next_leader))
        await beginning.commit()

    await committed.handoff("ada")
    assert len(await ear.since()) == 1


async def waits(connection: Connection) -> bool:
    """Whether somebody waits for a lock."""
    return bool(await connection.fetchval("select exists (select from pg_locks where not granted)"))


async def test_a_new_term_begins_with_everybody_ringing(committed: World, ear: Ear) -> None:
    """Also where the new leader is of a release that knows no bell."""
    await hush(committed)
    await committed.execute("update coordination.leadership set term = term + 1")

    await committed.handoff("ada")

    assert len(await ear.since()) == 1


async def test_a_standby_that_tries_in_vain_to_lead_ends_no_hush(
    committed: World, ear: Ear
) -> None:
    await hush(committed)
    await committed.execute("update coordination.leadership set term = term + 1 where false")

    await committed.handoff("ada")

    assert await ear.since() == []


# --- who is not overlooked ------------------------------------------------------------------------


async def test_what_changed_is_named_once(committed: World) -> None:
    ada = await committed.agent("ada")
    held = await committed.handoff("ada")
    await committed.dispatch("ada")
    seen = await hush(committed)
    await committed.handoff("reviewer")
    await committed.execute(DELAYED)
    await committed.complete(held, 1, ada)

    first = await changes(committed, seen)
    second = await changes(committed, first.seen)

    assert (first.addresses, first.agents) == (["reviewer"], ["ada"])
    assert first.due_in is not None
    assert timedelta(minutes=59) < first.due_in <= timedelta(hours=1)
    assert (second.addresses, second.agents, second.due_in) == ([], [], None)


async def test_an_agent_that_became_busy_again_is_not_named(committed: World) -> None:
    seen = await hush(committed)
    await committed.agent("ada")
    await committed.handoff("ada")
    await committed.dispatch("ada")

    assert (await changes(committed, seen)).agents == []


@pytest.mark.matrix
async def test_the_youngest_writer_of_a_hush_is_waited_for_and_found(
    committed: World, database: Database
) -> None:
    """Twenty times, since one could be luck: nobody else may end while the writer is under way."""
    for turn in range(20):
        seen = await hush(committed)
        async with writing(database) as writer:
            await writer.execute(INSERT, f"agent {turn}")
            xid = int(await writer.fetchval("select pg_current_xact_id()::text"))
            await passes.unhush(Run(committed))
            snapshot = await committed.value("select pg_current_snapshot()::text")
            assert int(snapshot.split(":")[1]) <= xid, "the trap is there: it ends below the writer"

            debt = await passes.owe(Run(committed))
            early = await changes(committed, seen, debt)
            assert not early.paid
            assert early.addresses == []

        assert await settled(committed, early.seen, debt) == {f"agent {turn}"}


@pytest.mark.matrix
async def test_a_writer_in_a_savepoint_is_waited_for_to_its_end(
    committed: World, database: Database
) -> None:
    seen = await hush(committed)
    async with writing(database) as writer:
        async with writer.transaction():
            await writer.execute(INSERT, "ada")
        await passes.unhush(Run(committed))
        debt = await passes.owe(Run(committed))

        assert not (await changes(committed, seen, debt)).paid

    assert await settled(committed, seen, debt) == {"ada"}


@pytest.mark.matrix
async def test_a_prepared_writer_is_waited_for_though_its_session_has_gone(
    committed: World, database: Database
) -> None:
    seen = await hush(committed)
    async with database.connect() as writer:
        await writer.execute("begin")
        await writer.execute(INSERT, "ada")
        await writer.execute("prepare transaction 'bell'")
    await passes.unhush(Run(committed))
    debt = await passes.owe(Run(committed))
    assert not (await changes(committed, seen, debt)).paid

    await committed.execute("commit prepared 'bell'")

    assert await settled(committed, seen, debt) == {"ada"}


async def test_the_daemons_statements_run_as_the_daemon(committed: World) -> None:
    await committed.execute("set role coordinator_daemon")
    try:
        seen = await hush(committed)
        await passes.unhush(Run(committed))
        debt = await passes.owe(Run(committed))

        assert await settled(committed, seen, debt) == set()
    finally:
        await committed.execute("reset role")
