"""A plan made while a table was seen empty must not read it from end to end once it is full.

A session keeps its plans, and those of the queries in functions, until a table is analysed again.
What
was read is counted by the server, whatever the machine does meanwhile.
"""

from datetime import timedelta
from uuid import UUID

import pytest

from coordinator.store.connection import Connection
from tests.integration.schema.world import (
    ACCEPT_TIMEOUT,
    CANCEL_GRACE,
    STALE_AFTER,
    Life,
    World,
)
from tests.support.postgres import Database
from tests.support.store import opened

QUIET = 10
"""Lives of the quiet days: a plain session makes its lasting plan in the sixth."""
BURST = 10
"""Lives lived while the tables are full."""
OTHERS = 5000
MOST_READ = 400
"""Rows of a life, repeated by each that looks at them. One scan from end to end reads 5,000."""

FULL = f"""
set session_replication_role = replica;
insert into agent_status (agent_name) select 'other ' || n from generate_series(1, {OTHERS}) n;
insert into handoffs (id, root_id, from_agent, to_agent, task_description)
select i.id, i.id, 'eve', 'other ' || i.n, 'do it'
from (select n, gen_random_uuid() as id from generate_series(1, {OTHERS}) n) i;
insert into coordination_events (handoff_id, event, agent)
select gen_random_uuid(), 'handoff.queued', 'ada' from generate_series(1, {OTHERS}) n;
set session_replication_role = origin;
"""
"""A burst of others, from a connection of their own, whose triggers are not looked at."""

READ = """
select sum(s.seq_tup_read + coalesce(s.idx_tup_fetch, 0))::bigint
from pg_stat_xact_user_tables s
where s.relname in ('handoffs', 'agent_status', 'coordination_events')
"""
"""Rows that this transaction has read so far, at whatever place."""
READ_BY_ALL = READ.replace("_xact", "")
"""Rows that all sessions have read so far, as far as they have told."""


@pytest.fixture
async def ada(committed: World) -> Life:
    """The one agent of quiet days, on tables that were vacuumed so."""
    life = await committed.agent()
    for table in ("agent_status", "handoffs", "coordination_events"):
        await committed.execute(f"vacuum analyze {table}")
    return life


@pytest.mark.matrix
async def test_our_sessions_plans_of_quiet_days_bear_a_burst(
    committed: World, database: Database, ada: Life
) -> None:
    async with opened(database.dsn) as ours:
        for _ in range(QUIET):
            await live(ours, ada)
        await committed.execute(FULL)
        before = await read_by(ours, committed)
        for _ in range(BURST):
            await live(ours, ada)

        assert await read_by(ours, committed) - before < BURST * MOST_READ


@pytest.mark.matrix
async def test_a_plain_sessions_plans_of_quiet_days_bear_a_burst(
    committed: World, database: Database, ada: Life
) -> None:
    async with World.on(database) as plain:
        for _ in range(QUIET):
            await live_plainly(plain, ada)
        await committed.execute(FULL)
        async with plain.savepoint():
            for _ in range(BURST):
                await live_plainly(plain, ada)
            read = await plain.value(READ)

    assert read < BURST * MOST_READ


@pytest.mark.matrix
async def test_a_scan_that_cannot_be_avoided_is_not_compiled(world: World) -> None:
    """Its price, which is to deter, is above every limit for JIT: a quarter of a second a call."""
    rows = await world.rows(
        "select proname from pg_proc"
        " where 'enable_seqscan=off' = any (proconfig) and not 'jit=off' = any (proconfig)"
    )

    assert rows == []


async def live(on: Connection, ada: Life) -> None:
    """One handoff's life by the statements of daemon and SDK; its first attempt fails."""
    [handed] = await on.run(
        "agent_hand_off",
        from_agent="eve",
        items=[{"to_agent": ada.name, "task_description": "do it"}],
        incarnation=None,
    )
    await on.run(
        "dispatch", addresses=[ada.name], agents=[], term=0, batch=100, stale_after=STALE_AFTER
    )
    me = {"agent_name": ada.name, "incarnation": ada.incarnation}
    token = me | {"handoff_id": handed["handoff_id"], "attempt": 1}
    await on.run("agent_held", **me)
    await on.run("agent_accept", **token)
    await on.run("agent_beat", agent_names=[ada.name], incarnation=ada.incarnation)
    await on.run("agent_report_progress", **token, note="half way", detail={})
    at_once = timedelta(0)
    await on.run("agent_fail", **token, error="it broke", retry=True, retry_in=at_once, result=None)
    await on.run(
        "dispatch", addresses=[], agents=[ada.name], term=0, batch=100, stale_after=STALE_AFTER
    )
    token["attempt"] = 2
    await on.run("agent_complete", **token, result=None, follow_ups=[])
    for name in ("make_due", "end_overdue", "take_back_timed_out"):
        await on.run(name, batch=100)
    await on.run("take_back_unaccepted", batch=100, accept_timeout=ACCEPT_TIMEOUT)
    await on.run("end_cancelled", batch=100, cancel_grace=CANCEL_GRACE)


async def live_plainly(plain: World, ada: Life) -> None:
    """One handoff's life by the functions, and one by updates, over a session without settings."""
    handoff_id: UUID = await plain.value(
        "select handoff_id from hand_off('eve', $1, 'do it')", ada.name
    )
    await give(plain, ada, handoff_id)
    await plain.rows("select * from held_handoff($1, $2)", ada.name, ada.incarnation)
    await plain.accept(handoff_id, 1, ada)
    await plain.heartbeat(ada, handoff_id, 1)
    assert await plain.complete(handoff_id, 1, ada) == "applied"
    await plain.say(ada, "working")
    await plain.say(ada, "idle")
    handoff_id = await plain.handoff(ada.name)
    await give(plain, ada, handoff_id)
    assert await plain.fail(handoff_id, 1, ada, retry=False) == "applied"


async def give(plain: World, ada: Life, handoff_id: UUID) -> None:
    """Dispatch by hand, planned anew: the daemon's own statement is for the daemon's session."""
    await plain.execute(
        "update handoffs set status = 'in_progress', attempt = 1, dispatched_at = now(),"
        f" assigned_agent = '{ada.name}', held_by = '{ada.incarnation}'"
        f" where id = '{handoff_id}'"
    )


async def read_by(session: Connection, other: World) -> int:
    """Rows that a session has read so far, once it has told the server's counters."""
    await session.execute("select pg_stat_force_next_flush()")
    await session.execute("select 1")
    return int(await other.value(READ_BY_ALL))
