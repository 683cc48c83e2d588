"""How a handoff's body ends, and what the database is told."""

from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import pytest

from coordinator.agents import (
    Agent,
    GiveUp,
    HeldHandoff,
    LeaseLost,
    NewHandoff,
    Outcome,
    Verdict,
)
from coordinator.core.model import agent_channel
from tests.support.postgres import Database
from tests.support.sdk import FAST, RARE, Desk, desk_at


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def next_of(agent: Agent) -> HeldHandoff:
    return await anext(agent.handoffs())


async def test_the_channel_is_the_one_the_database_notifies(desk: Desk) -> None:
    for name in ("ada", "Zoë 🐘", "handoffs", "x" * 128):
        assert await desk.sql.fetchval("select agent_channel($1)", name) == agent_channel(name)


async def test_a_clean_exit_completes_the_handoff(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada", metadata={"host": "here"}) as agent:
        handoff_id = await desk.give(task="review", context={"files": ["a.py"]})
        handoff = await next_of(agent)
        async with handoff:
            assert (await desk.row(handoff_id))["accepted_at"] is not None
            handoff.succeed({"verdict": f"{handoff.task_description} {handoff.context}"})

    row = await desk.row(handoff_id)
    assert (row["status"], row["outcome"], row["attempt"]) == ("completed", "succeeded", 1)
    assert row["result"] == {"verdict": "review {'files': ['a.py']}"}


async def test_work_dispatched_while_the_agent_waits_is_pushed_to_it(
    database: Database, desk: Desk
) -> None:
    done: list[str] = []

    async def handler(handoff: HeldHandoff) -> None:
        done.append(handoff.task_description)
        if len(done) == 3:
            agent.stop()

    async with (
        Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agent.run, handler)
        for task in ("one", "two", "three"):
            await desk.reaches(await desk.give(task=task), outcome="succeeded")

    assert done == ["one", "two", "three"]


async def test_an_agent_answers_to_its_roles(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada", roles=["reviewer"]) as agent:
        handoff_id = await desk.give("reviewer")
        async with await next_of(agent) as handoff:
            assert (handoff.id, handoff.to_agent) == (handoff_id, "reviewer")


async def test_an_exception_fails_the_attempt_and_the_agent_lives_on(
    database: Database, desk: Desk
) -> None:
    await desk.no_pause_before_retries()
    told: list[tuple[int, str]] = []

    def on_error(handoff: HeldHandoff, error: Exception) -> None:
        told.append((handoff.attempt, str(error)))

    async def handler(handoff: HeldHandoff) -> str:
        if handoff.attempt == 1:
            raise ValueError("out of tokens")
        agent.stop()
        return "at last"

    async with (
        Agent.connect(database.dsn, "ada", on_error=on_error) as agent,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agent.run, handler)
        handoff_id = await desk.give()
        row = await desk.reaches(handoff_id, status="pending")
        assert row["last_error"] == "ValueError: out of tokens"
        await desk.dispatch()

    row = await desk.row(handoff_id)
    assert (row["outcome"], row["attempt"], row["result"]) == ("succeeded", 2, "at last")
    assert told == [(1, "out of tokens")]


async def test_giving_up_ends_the_handoff_at_once(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        handoff_id = await desk.give()
        async with await next_of(agent):
            raise GiveUp("no such file", result={"looked_in": "/tmp"})

    row = await desk.row(handoff_id)
    assert (row["outcome"], row["attempt"], row["last_error"]) == ("failed", 1, "no such file")
    assert row["result"] == {"looked_in": "/tmp"}


@pytest.mark.parametrize(("retry", "status"), [(True, "pending"), (False, "completed")])
async def test_a_body_may_fail_without_an_exception(
    database: Database, desk: Desk, retry: bool, status: str
) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            handoff.fail("rate limited", retry=retry)

    row = await desk.row(handoff_id)
    assert (row["status"], row["last_error"]) == (status, "rate limited")


async def test_a_body_may_say_when_to_try_again(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            handoff.fail("rate limited", retry_in=timedelta(minutes=5))

    pause = await desk.sql.fetchval(
        "select available_at - now() from handoffs where id = $1", handoff_id
    )
    assert timedelta(minutes=4) < pause <= timedelta(minutes=5)


async def test_follow_ups_are_committed_together_with_the_completion(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            handoff.succeed(
                then=[
                    NewHandoff(to_agent="bob", task_description="build", context={"plan": None}),
                    NewHandoff(
                        to_agent="eve",
                        task_description="review",
                        delay=timedelta(hours=1),
                        deadline=timedelta(days=1),
                        timeout=timedelta(minutes=90),
                    ),
                ]
            )

    rows = await desk.sql.fetch(
        "select *, xmin::text = (select xmin::text from coordination_events e"
        " where e.handoff_id = $1 and event = 'handoff.succeeded') as together"
        " from handoffs where parent_id = $1 order by position",
        handoff_id,
    )
    assert [(row["to_agent"], row["from_agent"], row["together"]) for row in rows] == [
        ("bob", "ada", True),
        ("eve", "ada", True),
    ]
    assert rows[0]["context"] == {"plan": None}
    assert rows[1]["available_at"] - rows[1]["created_at"] == timedelta(hours=1)
    assert rows[1]["deadline_at"] - rows[1]["created_at"] == timedelta(days=1)
    assert rows[1]["timeout"] == timedelta(minutes=90)


async def test_a_refused_follow_up_fails_the_attempt_and_hands_nothing_on(
    database: Database, desk: Desk
) -> None:
    told: list[Exception] = []
    async with Agent.connect(
        database.dsn, "ada", on_error=lambda _, error: told.append(error)
    ) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            handoff.follow_ups = [
                NewHandoff(to_agent="bob", task_description="build"),
                NewHandoff(to_agent="bob", task_description=" "),
            ]

    row = await desk.row(handoff_id)
    assert row["status"] == "pending"
    assert "task_description" in row["last_error"]
    assert len(told) == 1
    assert await desk.sql.fetchval("select count(*) from handoffs") == 1


async def test_a_result_that_is_no_json_fails_the_attempt(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada", on_error=lambda _, __: None) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            handoff.result = object()

    row = await desk.row(handoff_id)
    assert row["status"] == "pending"
    assert "JSON serializable" in row["last_error"]


async def test_a_result_may_speak_of_a_nul_without_holding_one(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            handoff.result = {"pattern": r"\u0000"}

    assert (await desk.row(handoff_id))["result"] == {"pattern": r"\u0000"}


async def test_a_reason_that_postgresql_cannot_store_is_stored_as_well_as_may_be(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", on_error=lambda _, __: None) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent):
            raise ValueError("a\0b\ud800" + "x" * 10_000)

    last_error = (await desk.row(handoff_id))["last_error"]
    assert last_error.startswith("ValueError: ab?x")
    assert len(last_error) < 5000


async def test_progress_is_recorded_while_the_body_runs(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            await handoff.report_progress("half way", percent=50)

    detail = await desk.sql.fetchval(
        "select detail from coordination_events"
        " where handoff_id = $1 and event = 'handoff.progressed'",
        handoff_id,
    )
    assert detail["note"] == "half way"
    assert detail["progress"] == {"percent": 50}


async def test_a_cancelled_handoff_stops_its_body_and_the_agent_goes_on(
    database: Database, desk: Desk
) -> None:
    working, stopped = anyio.Event(), anyio.Event()

    async def handler(handoff: HeldHandoff) -> None:
        if handoff.task_description == "the next one":
            agent.stop()
            return
        working.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with (
        Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agent.run, handler)
        handoff_id = await desk.give()
        await working.wait()
        await desk.sql.execute("select cancel_handoff($1, 'changed my mind')", handoff_id)
        row = await desk.reaches(handoff_id, status="completed")
        await stopped.wait()
        await desk.give(task="the next one")

    assert (row["outcome"], row["attempt"]) == ("cancelled", 1)
    assert (await desk.agent())["blocked_reason"] == "left"


async def test_a_body_that_finishes_although_it_was_cancelled_has_succeeded(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            async with desk.pushes_lost():
                await desk.sql.execute("select cancel_handoff($1)", handoff_id)
            handoff.result = "done before I heard"

    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


async def test_progress_tells_that_the_work_should_be_cancelled(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            async with desk.pushes_lost():
                await desk.sql.execute("select cancel_handoff($1)", handoff_id)
            await handoff.report_progress("still here")
            await anyio.sleep_forever()

    assert (await desk.row(handoff_id))["outcome"] == "cancelled"


async def test_a_handoff_cancelled_before_it_was_taken_up_cannot_be_entered(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        handoff_id = await desk.give()
        handoff = await next_of(agent)
        assert await desk.sql.fetchval("select cancel_handoff($1)", handoff_id) == "cancelled"
        with pytest.raises(LeaseLost, match=str(handoff_id)):
            async with handoff:
                pytest.fail("it was entered")


async def test_a_handoff_that_is_passed_over_is_an_error(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        await desk.give()
        handoffs = agent.handoffs()
        await anext(handoffs)
        with pytest.raises(RuntimeError, match="was not taken up"):
            await anext(handoffs)


async def test_a_handoff_is_entered_once(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as agent:
        await desk.give()
        async with await next_of(agent) as handoff:
            pass
        with pytest.raises(RuntimeError, match="was entered already"):
            async with handoff:
                pytest.fail("it was entered again")


async def test_a_group_of_exceptions_is_a_failure_that_names_each(
    database: Database, desk: Desk
) -> None:
    async def explode() -> None:
        raise ValueError("boom")

    told: list[Exception] = []
    async with Agent.connect(
        database.dsn, "ada", on_error=lambda _, error: told.append(error)
    ) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent), anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            tasks.start_soon(explode)

    assert isinstance(told[0], ExceptionGroup)
    assert (await desk.row(handoff_id))["last_error"] == "ValueError: boom"


async def test_an_error_while_the_body_is_being_cancelled_is_told(
    database: Database, desk: Desk
) -> None:
    async def wait_and_fail() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("cannot tidy up")

    told: list[Exception] = []
    async with Agent.connect(
        database.dsn, "ada", on_error=lambda _, error: told.append(error)
    ) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent), anyio.create_task_group() as tasks:
            tasks.start_soon(wait_and_fail)
            tasks.start_soon(anyio.sleep_forever)
            await desk.sql.execute("select cancel_handoff($1)", handoff_id)

    row = await desk.row(handoff_id)
    assert (row["outcome"], row["last_error"]) == ("cancelled", "ValueError: cannot tidy up")
    assert len(told) == 1


async def test_a_cancellation_in_a_group_of_exceptions_does_not_hide_the_others(
    database: Database, desk: Desk
) -> None:
    told: list[Exception] = []
    async with Agent.connect(
        database.dsn, "ada", on_error=lambda _, error: told.append(error)
    ) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent):
            try:
                await desk.sql.execute("select cancel_handoff($1)", handoff_id)
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class() as cancelled:
                raise BaseExceptionGroup("", [cancelled, ValueError("no")]) from None

    assert (await desk.row(handoff_id))["last_error"] == "ValueError: no"
    assert isinstance(told[0], ExceptionGroup)


async def test_a_handoff_whose_cancellation_came_before_its_body_stops_at_once(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        handoff = await next_of(agent)
        async with desk.pushes_lost():
            await desk.sql.execute(
                "select from accept_handoff($1, 1, 'ada', $2)", handoff_id, agent.incarnation
            )
            await desk.sql.execute("select cancel_handoff($1)", handoff_id)
        async with handoff:
            await anyio.sleep_forever()

    assert (await desk.row(handoff_id))["outcome"] == "cancelled"


async def test_what_another_program_has_settled_by_the_same_token_is_not_said_twice(
    database: Database, desk: Desk
) -> None:
    settle = "select complete_handoff($1, $2, 'ada', $3, '\"by another\"')"
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            with anyio.CancelScope(shield=True):  # a heartbeat may find it out first
                await desk.sql.execute(settle, handoff_id, 1, agent.incarnation)
                row = await handoff.look()
                assert row is not None
                assert row.outcome is Outcome.SUCCEEDED
                handoff.settled(row.outcome)
            await anyio.sleep_forever()  # until a heartbeat finds that it is no longer held

    assert handoff.verdict is Verdict.REPEATED
    assert (await desk.row(handoff_id))["result"] == "by another"


async def test_what_another_program_has_failed_by_the_same_token_is_not_said_twice(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as agent:
        handoff_id = await desk.give()
        async with await next_of(agent) as handoff:
            await desk.sql.execute(
                "select fail_handoff($1, 1, 'ada', $2, 'by another', false)",
                handoff_id,
                agent.incarnation,
            )
            handoff.settled(Outcome.FAILED)

    assert handoff.verdict is Verdict.REPEATED
    assert (await desk.row(handoff_id))["last_error"] == "by another"
