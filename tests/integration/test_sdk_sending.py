"""Handing work to others, and waiting for what comes of it."""
# ruff: noqa: PT012 - it is the end of a block that raises

import warnings
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import anyio
import pytest

from coordinator.agents import (
    Agent,
    AgentHost,
    HandoffResult,
    HeldHandoff,
    LeaseLost,
    NewHandoff,
    Outcome,
    RequestRefused,
    UnknownAddress,
)
from tests.support.postgres import Database
from tests.support.sdk import FAST, RARE, Desk, desk_at


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        await desk.sql.execute("insert into agent_status (agent_name) values ('bob')")
        yield desk


async def next_of(agent: Agent) -> HeldHandoff:
    return await anext(agent.handoffs())


async def test_a_handoff_carries_what_the_sender_gives_it(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        sent = await ada.hand_off(
            "bob",
            "build it",
            context={"branch": "main"},
            priority=7,
            delay=timedelta(minutes=5),
            deadline=timedelta(hours=2),
            timeout=timedelta(minutes=30),
            max_attempts=5,
            idempotency_key="build-1",
            traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01",
        )

    row = await desk.row(sent.id)
    assert (row["from_agent"], row["to_agent"], row["task_description"]) == (
        "ada",
        "bob",
        "build it",
    )
    assert (row["context"], row["priority"], row["max_attempts"]) == ({"branch": "main"}, 7, 5)
    assert row["available_at"] - row["created_at"] == timedelta(minutes=5)
    assert row["deadline_at"] - row["created_at"] == timedelta(hours=2)
    assert (row["timeout"], row["idempotency_key"]) == (timedelta(minutes=30), "build-1")
    assert row["traceparent"].startswith("00-abab")


async def test_moments_may_be_given_as_they_are(database: Database, desk: Desk) -> None:
    now = await desk.sql.fetchval("select now()")
    async with Agent.connect(database.dsn, "ada") as ada:
        sent = await ada.hand_off(
            "bob", "build it", available_at=now + timedelta(hours=1), deadline=now + timedelta(1)
        )

    row = await desk.row(sent.id)
    assert row["available_at"] == now + timedelta(hours=1)
    assert row["deadline_at"] == now + timedelta(days=1)


async def test_a_start_is_a_moment_or_a_delay_but_not_both(database: Database, desk: Desk) -> None:
    now = await desk.sql.fetchval("select now()")
    async with Agent.connect(database.dsn, "ada") as ada:
        with pytest.raises(ValueError, match="not both"):
            await ada.hand_off("bob", "build it", available_at=now, delay=timedelta(seconds=1))


async def test_what_is_sent_from_a_body_descends_from_its_handoff(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        handoff_id = await desk.give()
        async with await next_of(ada) as handoff:
            by_default = await ada.hand_off("bob", "build it")
            by_name = await ada.hand_off("bob", "test it", parent=by_default)
            by_id = await ada.hand_off("bob", "ship it", parent=handoff.id)

    assert (await desk.row(by_default.id))["parent_id"] == handoff_id
    assert (await desk.row(by_name.id))["parent_id"] == by_default.id
    assert (await desk.row(by_id.id))["parent_id"] == handoff_id
    assert {(await desk.row(sent.id))["root_id"] for sent in (by_default, by_name, by_id)} == {
        handoff_id
    }


async def test_what_is_sent_from_a_body_that_lost_its_lease_still_descends_from_it(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada:
        lost = await desk.give(task="the lost one")
        with pytest.raises(LeaseLost):
            async with await next_of(ada):
                async with desk.pushes_lost():
                    await desk.take_back(lost)
                    await desk.put(task="another one", priority=1)
                    await desk.dispatch()
                sent = await ada.hand_off("bob", "build it")

        assert (await desk.row(sent.id))["parent_id"] == lost


async def test_an_idempotency_key_makes_one_handoff(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        first = await ada.hand_off("bob", "build it", idempotency_key="build-1")
        second = await ada.hand_off("bob", "build it", idempotency_key="build-1")
        with pytest.raises(RequestRefused, match="build-1") as refused:
            await ada.hand_off("bob", "something else", idempotency_key="build-1")

    assert (first.repeated, second.repeated) == (False, True)
    assert first.id == second.id
    assert refused.value.code == "ZH009"


async def test_the_same_task_without_a_key_is_two_handoffs(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        first = await ada.hand_off("bob", "build it")
        second = await ada.hand_off("bob", "build it")

    assert first.id != second.id


async def test_many_are_handed_off_together_or_not_at_all(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        good = NewHandoff(to_agent="bob", task_description="build it")
        sent = await ada.hand_off_many([good, good])
        with pytest.raises(RequestRefused):
            await ada.hand_off_many([good, NewHandoff(to_agent="bob", task_description="")])
        assert await ada.hand_off_many([]) == []

    rows = await desk.sql.fetch("select id from handoffs order by position")
    assert [row["id"] for row in rows] == [one.id for one in sent]


async def test_an_address_that_nobody_answers_to_is_warned_of(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        with pytest.warns(UnknownAddress, match="no agent answers to zoe"):
            sent = await ada.hand_off("zoe", "build it")

    assert sent.warning is not None
    assert (await desk.row(sent.id))["status"] == "pending"


async def test_the_warning_points_at_the_line_that_hands_off(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await ada.hand_off("zoe", "build it")
            await ada.hand_off_many([NewHandoff(to_agent="zoe", task_description="build it")])

    assert [warning.filename for warning in caught] == [__file__, __file__]


async def test_the_result_of_the_other_side_can_be_awaited(database: Database, desk: Desk) -> None:
    async with (
        AgentHost.connect(database.dsn, heartbeat_interval=RARE) as host,
        host.agent("ada") as ada,
        host.agent("eve") as eve,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_answer_one, eve, {"sum": 5})
        sent = await ada.hand_off("eve", "2 + 3", wait=timedelta(seconds=20))
        await desk.dispatch("eve")

        assert await sent.result() == HandoffResult(outcome=Outcome.SUCCEEDED, result={"sum": 5})
        assert (await sent.result()).result == {"sum": 5}


async def test_a_lost_push_of_a_result_is_healed_by_looking(database: Database, desk: Desk) -> None:
    async with (
        Agent.connect(database.dsn, "ada", heartbeat_interval=FAST) as ada,
        anyio.create_task_group() as tasks,
    ):
        sent = await ada.hand_off("bob", "build it")
        results: list[HandoffResult] = []

        async def wait() -> None:
            results.append(await sent.result())

        tasks.start_soon(wait)
        await desk.dispatch("bob")
        async with desk.pushes_lost():
            await desk.sql.execute("update handoffs set status = 'completed', result = '5'")

    assert results == [HandoffResult(outcome=Outcome.SUCCEEDED, result=5)]


async def test_a_failure_is_a_result_too(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        sent = await ada.hand_off("bob", "build it", max_attempts=1)
        await desk.dispatch("bob")
        await desk.sql.execute(
            "update handoffs set status = 'completed', outcome = 'failed', last_error = 'no disk'"
        )
        result = await sent.result()

    assert (result.outcome, result.last_error) == (Outcome.FAILED, "no disk")


async def test_waiting_has_a_time_limit(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        sent = await ada.hand_off("bob", "build it")
        with pytest.raises(TimeoutError, match=str(sent.id)):
            await sent.result(within=timedelta(milliseconds=20))


async def test_a_deleted_handoff_has_no_result(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        sent = await ada.hand_off("bob", "build it")
        await desk.sql.execute("delete from handoffs")
        with pytest.raises(RequestRefused) as refused:
            await sent.result()

    assert refused.value.code == "ZH004"


async def test_a_sender_may_cancel(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        sent = await ada.hand_off("bob", "build it")
        assert await sent.cancel("not needed") == "cancelled"
        result = await sent.result()
        assert await sent.cancel() == "completed"

    assert (result.outcome, result.last_error) == (Outcome.CANCELLED, "not needed")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_wait_that_would_never_end_is_refused(
    database: Database, desk: Desk, declared: bool
) -> None:
    async with (
        AgentHost.connect(database.dsn) as host,
        host.agent("ada") as ada,
        host.agent("eve") as eve,
    ):
        await desk.give("ada")
        async with await next_of(ada):
            await ada.hand_off("eve", "help me")
            await desk.dispatch("eve")
            async with await next_of(eve):
                with pytest.raises(RequestRefused) as refused:
                    await _ask_back(eve, declared=declared)

    assert refused.value.code == "ZH010"
    asked = await desk.sql.fetchval("select count(*) from handoffs where to_agent = 'ada'")
    assert asked == (1 if declared else 2)


async def test_a_message_that_cannot_be_read_means_look_again(
    database: Database, desk: Desk
) -> None:
    async with (
        Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_answer_one, ada, None)
        async with desk.pushes_lost():
            handoff_id = await desk.give()
        await desk.sql.execute("select pg_notify(agent_channel('ada'), 'what?')")
        await desk.reaches(handoff_id, outcome="succeeded")


async def test_a_push_about_somebody_elses_handoff_stops_nothing(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada:
        await desk.give()
        async with await next_of(ada) as handoff:
            for event in ("taken_back", "cancel_requested", "succeeded"):
                payload = f'{{"event": "{event}", "handoff_id": "{uuid4()}", "attempt": 1}}'
                await desk.sql.execute("select pg_notify(agent_channel('ada'), $1)", payload)
            await handoff.report_progress("undisturbed")
        assert handoff.is_over


async def _answer_one(agent: Agent, result: object) -> None:
    async with await next_of(agent) as handoff:
        handoff.result = result


async def _ask_back(eve: Agent, *, declared: bool) -> None:
    limit = timedelta(seconds=5)
    sent = await eve.hand_off("ada", "what do you mean?", wait=limit if declared else None)
    await sent.result(within=limit)
