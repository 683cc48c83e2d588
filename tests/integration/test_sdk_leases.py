"""What an agent does when its attempt, its life or its connection is lost."""
# ruff: noqa: PT012 - it is the end of a block that raises

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import pytest

from coordinator.agents import Agent, HeldHandoff, LeaseLost, RequestRefused, Verdict
from tests.support.postgres import Database, throw_away_cluster
from tests.support.sdk import FAST, RARE, Desk, desk_at
from tests.support.waiting import eventually


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def next_of(agent: Agent) -> HeldHandoff:
    return await anext(agent.handoffs())


async def register_elsewhere(desk: Desk, incarnation: UUID) -> None:
    await desk.sql.fetchval("select (register_agent('ada', $1)).agent_name", incarnation)


async def test_work_that_is_taken_back_stops_its_body(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        with pytest.raises(LeaseLost, match="taken back"):
            async with await next_of(agent):
                await desk.take_back(handoff_id)
                await anyio.sleep_forever()

    assert (await desk.row(handoff_id))["status"] == "pending"


async def test_a_result_that_comes_too_late_is_kept_and_not_applied(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(agent) as handoff:
                handoff.result = "too late"
                async with desk.pushes_lost():
                    await desk.take_back(handoff_id)

    assert (await desk.row(handoff_id))["status"] == "pending"
    late = await desk.sql.fetchval(
        "select detail from coordination_events where event = 'handoff.settled_late'"
    )
    assert late["result"] == "too late"


async def test_after_the_block_the_verdict_tells_whether_its_word_counted(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        await desk.give()
        async with await next_of(agent) as applied:
            assert applied.verdict is None

        await desk.give()
        async with await next_of(agent) as repeated:
            await desk.sql.execute(
                "select complete_handoff($1, 1, 'ada', $2)", repeated.id, agent.incarnation
            )

        handoff_id = await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(agent) as stale, desk.pushes_lost():
                await desk.take_back(handoff_id)

        verdicts = [applied.verdict, repeated.verdict, stale.verdict]
        assert verdicts == [Verdict.APPLIED, Verdict.REPEATED, Verdict.STALE]


async def test_progress_on_lost_work_raises_lease_lost(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(agent) as handoff:
                async with desk.pushes_lost():
                    await desk.take_back(handoff_id)
                await handoff.report_progress("still at it")


async def test_an_agent_that_was_blocked_for_not_stopping_is_free_once_its_body_has_ended(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(agent):
                await desk.take_back(handoff_id, "timed_out")
                assert (await desk.agent())["blocked_reason"] == "unresponsive"
                await anyio.sleep_forever()
        assert (await desk.agent())["status"] == "idle"


async def test_the_agent_goes_on_after_a_lost_attempt(database: Database, desk: Desk) -> None:
    told: list[Exception] = []
    working = anyio.Event()

    async def handler(handoff: HeldHandoff) -> None:
        if handoff.attempt == 2:
            agent.stop()
            return
        working.set()
        await anyio.sleep_forever()

    async with (
        Agent.connect(
            database.dsn,
            "ada",
            heartbeat_interval=RARE,
            on_error=lambda _, error: told.append(error),
        ) as agent,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agent.run, handler)
        handoff_id = await desk.give()
        await working.wait()
        await desk.take_back(handoff_id)
        await desk.dispatch()
        await desk.reaches(handoff_id, outcome="succeeded", attempt=2)

    assert [type(error) for error in told] == [LeaseLost]


async def test_a_lost_push_of_new_work_is_healed_by_the_next_heartbeat(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as agent:
        agent_waits = anyio.create_task_group()
        async with agent_waits:
            agent_waits.start_soon(_complete_one, agent)
            async with desk.pushes_lost():
                handoff_id = await desk.give()
            await desk.reaches(handoff_id, outcome="succeeded")


async def test_a_lost_push_of_taken_back_work_is_healed_by_the_next_heartbeat(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as agent:
        handoff_id = await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(agent):
                async with desk.pushes_lost():
                    await desk.take_back(handoff_id)
                await anyio.sleep_forever()


async def test_a_lost_push_of_a_cancellation_is_healed_by_the_next_heartbeat(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent):
            async with desk.pushes_lost():
                await desk.sql.execute("select cancel_handoff($1)", handoff_id)
            await anyio.sleep_forever()

    assert (await desk.row(handoff_id))["outcome"] == "cancelled"


async def test_an_agent_blocked_for_not_taking_up_work_is_free_again_when_it_waits(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as agent:
        handoff_id = await desk.give()
        await desk.take_back(handoff_id, "unaccepted")
        assert (await desk.agent())["blocked_reason"] == "unresponsive"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_complete_one, agent)
            await desk.dispatch()
            await desk.reaches(handoff_id, outcome="succeeded", attempt=2)


async def test_a_new_life_ends_the_old_one_which_does_not_register_again(
    database: Database, desk: Desk
) -> None:
    successor = uuid4()
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as old:
        handoff_id = await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(old):
                await register_elsewhere(desk, successor)
                await anyio.sleep_forever()
        assert (await desk.row(handoff_id))["status"] == "pending"
        with pytest.raises(RequestRefused, match="register again") as refused:
            await next_of(old)
        assert refused.value.code == "ZH002"

    assert (await desk.agent())["incarnation"] == successor


async def test_an_idle_agent_learns_from_its_heartbeat_that_it_was_replaced(
    database: Database, desk: Desk
) -> None:
    successor = uuid4()
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as old:
        await register_elsewhere(desk, successor)
        with pytest.raises(RequestRefused, match="register again"):
            await next_of(old)

    row = await desk.agent()
    assert (row["incarnation"], row["status"]) == (successor, "idle")


async def test_a_call_of_an_old_life_is_refused_and_ends_it(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as old:
        await register_elsewhere(desk, uuid4())
        with pytest.raises(RequestRefused, match="another process has registered"):
            await old.set_status("idle")
        with pytest.raises(RequestRefused, match="another process has registered"):
            await next_of(old)


async def test_an_agent_whose_row_has_gone_registers_again(database: Database, desk: Desk) -> None:
    async with Agent.connect(
        database.dsn, "ada", roles=["reviewer"], heartbeat_interval=FAST
    ) as agent:
        await desk.sql.execute("delete from agent_status")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_complete_one, agent)
            handoff_id = await desk.give("reviewer")
            await desk.reaches(handoff_id, outcome="succeeded")
        assert (await desk.agent())["incarnation"] == agent.incarnation


async def test_a_lost_connection_in_the_middle_of_a_body_does_no_harm(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            assert await desk.terminate("agent ada") == 1
            handoff.result = "unharmed"

        row = await desk.row(handoff_id)
        assert (row["outcome"], row["attempt"]) == ("succeeded", 1)
        assert row["result"] == "unharmed"
        assert (await desk.agent())["incarnation"] == agent.incarnation


async def test_after_a_reconnect_the_agent_hears_again(database: Database, desk: Desk) -> None:
    async with (
        Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_complete_one, agent)
        [before] = await desk.backends("agent ada")
        await desk.terminate("agent ada")
        await eventually(lambda: _replaced(desk, before))
        handoff_id = await desk.give()
        await desk.reaches(handoff_id, outcome="succeeded")


async def test_work_dispatched_during_an_outage_is_found_after_it(
    database: Database, desk: Desk
) -> None:
    login = await desk.login()
    async with (
        Agent.connect(database.dsn_as(login), "ada", heartbeat_interval=RARE) as agent,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_complete_one, agent)
        async with desk.outage(login):
            handoff_id = await desk.give()
        await desk.reaches(handoff_id, outcome="succeeded")


async def test_a_call_made_during_an_outage_is_answered_after_it(
    database: Database, desk: Desk
) -> None:
    login = await desk.login()
    async with (
        Agent.connect(database.dsn_as(login), "ada", heartbeat_interval=RARE) as agent,
        anyio.create_task_group() as tasks,
    ):
        await desk.sql.execute("insert into agent_status (agent_name) values ('bob')")
        async with desk.outage(login):
            tasks.start_soon(agent.hand_off, "bob", "build it")
            await anyio.lowlevel.checkpoint()

    assert await desk.sql.fetchval("select count(*) from handoffs") == 1


async def test_an_attempt_lost_during_an_outage_is_reported_after_it(
    database: Database, desk: Desk
) -> None:
    login = await desk.login()
    async with Agent.connect(database.dsn_as(login), "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(agent):
                async with desk.outage(login):
                    await desk.take_back(handoff_id)
                await anyio.sleep_forever()


async def test_a_backend_that_stands_still_is_left_for_another(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as agent:
        handoff_id = await desk.give()
        [backend] = await desk.backends("agent ada")
        os.kill(backend, signal.SIGSTOP)
        try:
            async with await next_of(agent) as handoff:
                handoff.result = "done"
        finally:
            os.kill(backend, signal.SIGCONT)

    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


async def test_a_server_that_is_started_again_finds_its_agents_working() -> None:
    async with throw_away_cluster() as cluster, cluster.database() as database:
        async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as agent:
            async with desk_at(database) as desk:
                handoff_id = await desk.give()
            async with await next_of(agent) as handoff:
                await cluster.server.stop()
                handoff.result = "unharmed"
                await cluster.server.launch()
        async with desk_at(database) as desk:
            row = await desk.row(handoff_id)

    assert (row["outcome"], row["attempt"]) == ("succeeded", 1)


async def test_a_cancelled_program_gives_its_work_back_and_leaves(
    database: Database, desk: Desk
) -> None:
    working = asyncio.Event()

    async def handler(handoff: HeldHandoff) -> None:
        working.set()
        await asyncio.sleep(3600)

    async def program() -> None:
        async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
            await agent.run(handler)

    task = asyncio.create_task(program())
    handoff_id = await desk.put()
    await eventually(lambda: desk.sql.fetchval("select count(*) from agent_status"))
    await desk.dispatch()
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    row = await desk.row(handoff_id)
    assert (row["status"], row["last_error"]) == ("pending", "the agent's program was stopped")
    assert (await desk.agent())["blocked_reason"] == "left"
    assert await desk.backends("agent ada") == []


async def test_a_result_is_not_lost_to_a_cancellation_that_comes_while_it_is_told(
    database: Database, desk: Desk
) -> None:
    async def program() -> None:
        async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
            async for handoff in agent.handoffs():
                async with handoff:
                    handoff.result = "finished"
                    taken_up.set()
                    await locked.wait()

    async def waits_for_the_lock() -> bool:
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        return bool(await desk.sql.fetchval(waiting))

    taken_up, locked = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(program())
    handoff_id = await desk.put()
    await eventually(lambda: desk.sql.fetchval("select count(*) from agent_status"))
    await desk.dispatch()
    await taken_up.wait()
    async with database.connect() as other, other.transaction():
        await other.execute("select from handoffs for update")
        locked.set()
        await eventually(waits_for_the_lock)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    row = await desk.row(handoff_id)
    assert (row["outcome"], row["result"]) == ("succeeded", "finished")


async def test_a_handoff_deleted_under_its_body_is_lost(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        await desk.give()
        with pytest.raises(LeaseLost):
            async with await next_of(agent):
                await desk.sql.execute("delete from handoffs")
                await anyio.sleep_forever()
        assert (await desk.agent())["status"] == "idle"


async def test_a_time_limit_around_a_handoff_fails_the_attempt_and_the_agent_lives_on(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        with anyio.move_on_after(0.05) as limit:
            async with await next_of(agent):
                await anyio.sleep_forever()
        assert limit.cancelled_caught
        assert (await desk.row(handoff_id))["status"] == "pending"
        assert (await desk.agent())["status"] == "idle"


async def test_an_exception_of_the_program_comes_out_as_it_is(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Agent.connect(database.dsn, "ada"):
            raise ZeroDivisionError


async def test_leaving_while_work_is_offered_gives_it_back(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada"):
        handoff_id = await desk.give()

    row = await desk.row(handoff_id)
    assert (row["status"], row["end_reason"]) == ("pending", "left")


async def _complete_one(agent: Agent) -> None:
    async with await next_of(agent):
        pass


async def _replaced(desk: Desk, before: int) -> bool:
    pids = await desk.backends("agent ada")
    return len(pids) == 1 and pids != [before]
