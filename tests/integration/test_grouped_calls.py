"""What many agents of a host say at once goes together, and each hears its own answer."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from secrets import token_hex
from typing import Any
from uuid import UUID

import anyio
import pytest

from coordinator.agents import Agent, AgentHost, HeldHandoff
from coordinator.agents.calls import AgentCalls
from coordinator.agents.station import Station
from coordinator.core.errors import Refusal, RequestRefused, StoreUnavailable
from coordinator.core.model import Handoff, NewHandoff, Token, Verdict
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.grouped import MOST_BYTES
from tests.support.crew import Gate, Member, crew_at
from tests.support.postgres import Database
from tests.support.sdk import RARE, Desk, desk_at


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def complete(member: Member) -> Verdict:
    return await member.complete({"by": member.life.agent_name})


@pytest.mark.parametrize(
    ("call", "event"),
    [
        (Member.accept, "handoff.accepted"),
        (Member.take_up, "handoff.accepted"),
        (complete, "handoff.succeeded"),
        (Member.fail, "handoff.attempt_failed"),
    ],
)
async def test_what_arrives_while_one_is_under_way_goes_in_one_transaction(
    database: Database, desk: Desk, call: Any, event: str
) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve, kim = [await crew.join(name) for name in ("ada", "eve", "kim")]
        await crew.together(call, ada, eve, kim)

    assert len(set(await crew.transactions(event, ada, eve, kim))) == 1


async def test_each_takes_up_its_own(database: Database, desk: Desk) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve = await crew.join("ada"), await crew.join("eve")
        await crew.together(Member.take_up, eve, ada)

    for member in (ada, eve):
        row = crew.answers[member.life.agent_name]
        assert isinstance(row, Handoff)
        assert (row.id, row.assigned_agent) == (member.id, member.life.agent_name)
        assert row.accepted_at == (await desk.row(member.id))["accepted_at"]


async def test_each_reads_what_it_holds(database: Database, desk: Desk) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve, kim = [await crew.join(name) for name in ("ada", "eve", "kim")]
        await eve.complete()
        # Nothing stops a look; so the first one waits for its turn, and the others go together.
        async with anyio.create_task_group() as tasks, crew.busy(Member.accept):
            for member in (kim, eve, ada):
                tasks.start_soon(crew.ask, Member.held, member)

    assert crew.answers["ada"].id == ada.id
    assert crew.answers["eve"] is None


async def test_an_agent_that_holds_nothing_takes_nothing_up(database: Database, desk: Desk) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve = await crew.join("ada"), await crew.join("eve")
        await eve.complete()
        await crew.together(Member.take_up, ada, eve)

    assert crew.answers["eve"] is None
    assert crew.answers["ada"].id == ada.id


async def test_a_result_that_is_refused_costs_only_itself(database: Database, desk: Desk) -> None:
    async def word(member: Member) -> Verdict:
        is_bad = member.life.agent_name == "eve"
        return await member.complete("no\0text" if is_bad else "fine")

    async with crew_at(database, desk) as crew:
        ada, eve, kim = [await crew.join(name) for name in ("ada", "eve", "kim")]
        await crew.together(word, ada, eve, kim)

    assert isinstance(crew.answers["eve"], RequestRefused)
    assert (crew.answers["ada"], crew.answers["kim"]) == (Verdict.APPLIED, Verdict.APPLIED)
    assert (await desk.row(eve.id))["status"] == "in_progress"


async def test_what_is_no_json_costs_only_itself(database: Database, desk: Desk) -> None:
    async def word(member: Member) -> Verdict:
        return await member.complete({object()} if member.life.agent_name == "eve" else "fine")

    async with crew_at(database, desk) as crew:
        ada, eve = await crew.join("ada"), await crew.join("eve")
        await crew.together(word, ada, eve)

    assert isinstance(crew.answers["eve"], RequestRefused)
    assert crew.answers["ada"] == Verdict.APPLIED


async def test_a_follow_up_that_is_refused_costs_only_its_own_completion(
    database: Database, desk: Desk
) -> None:
    async def word(member: Member) -> Verdict:
        address = "" if member.life.agent_name == "eve" else "reviewer"
        delayed = NewHandoff(
            to_agent=address, task_description="look", delay=timedelta(hours=1), context={"a": 1}
        )
        return await member.complete("written", delayed)

    async with crew_at(database, desk) as crew:
        ada, eve, kim = [await crew.join(name) for name in ("ada", "eve", "kim")]
        await crew.together(word, ada, eve, kim)

    assert isinstance(crew.answers["eve"], RequestRefused)
    followed = await desk.sql.fetch(
        "select parent_id, context, available_at > now() + interval '59 minutes' as is_delayed"
        " from handoffs where to_agent = 'reviewer' and from_agent in ('ada', 'kim')"
    )
    assert {row["parent_id"] for row in followed} == {ada.id, kim.id}
    assert all(row["is_delayed"] and row["context"] == {"a": 1} for row in followed)


async def test_a_late_word_is_stale_for_its_own_agent_alone(database: Database, desk: Desk) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve, kim = [await crew.join(name) for name in ("ada", "eve", "kim")]
        await desk.take_back(eve.id)
        await crew.together(complete, ada, eve, kim)

    assert crew.answers == {
        "first": Verdict.APPLIED,
        "ada": Verdict.APPLIED,
        "eve": Verdict.STALE,
        "kim": Verdict.APPLIED,
    }
    assert len(set(await crew.transactions("handoff.succeeded", ada, kim))) == 1
    [late] = await crew.transactions("handoff.settled_late", eve)
    assert [late] == await crew.transactions("handoff.succeeded", ada)


async def test_an_attempt_that_no_longer_stands_is_refused_to_its_own_agent_alone(
    database: Database, desk: Desk
) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve, kim = [await crew.join(name) for name in ("ada", "eve", "kim")]
        await desk.take_back(eve.id)
        await crew.together(Member.accept, ada, eve, kim)

    assert isinstance(crew.answers["eve"], RequestRefused)
    assert crew.answers["eve"].refusal is Refusal.STALE_ATTEMPT
    assert {crew.answers["ada"].id, crew.answers["kim"].id} == {ada.id, kim.id}


async def test_saying_the_same_twice_is_answered_as_repeated(
    database: Database, desk: Desk
) -> None:
    async with crew_at(database, desk) as crew:
        ada = await crew.join("ada")
        verdicts = []

        async def say(member: Member) -> None:
            verdicts.append(await member.complete("once"))

        async with anyio.create_task_group() as tasks, crew.busy(complete):
            tasks.start_soon(say, ada)
            tasks.start_soon(say, ada)

    assert sorted(verdicts) == [Verdict.APPLIED, Verdict.REPEATED]


async def test_a_caller_that_is_cancelled_in_the_queue_has_said_nothing(
    database: Database, desk: Desk
) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve = await crew.join("ada"), await crew.join("eve")
        async with anyio.create_task_group() as tasks, crew.busy(complete):
            tasks.start_soon(crew.ask, complete, ada)
            async with anyio.create_task_group() as impatient:
                impatient.start_soon(crew.ask, complete, eve)
                await anyio.wait_all_tasks_blocked()
                impatient.cancel_scope.cancel()

    assert crew.answers["ada"] == Verdict.APPLIED
    assert (await desk.row(eve.id))["status"] == "in_progress"


async def test_a_caller_that_is_cancelled_on_the_way_leaves_the_others_their_answers(
    database: Database, desk: Desk
) -> None:
    async with crew_at(database, desk) as crew:
        ada, eve = await crew.join("ada"), await crew.join("eve", "slow")
        await crew.gate.close("slow")
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as impatient:
                async with crew.busy(complete):
                    tasks.start_soon(crew.ask, complete, ada)
                    impatient.start_soon(crew.ask, complete, eve)
                await crew.gate.reached()
                impatient.cancel_scope.cancel()
            assert crew.answers.keys() == {"first"}
            await crew.gate.open("slow")

    assert crew.answers["ada"] == Verdict.APPLIED
    assert len(set(await crew.transactions("handoff.succeeded", ada, eve))) == 1


async def test_a_connection_that_is_lost_on_the_way_costs_nobody_its_answer(
    database: Database, desk: Desk
) -> None:
    verdicts: list[Verdict] = []
    gate = await Gate.build(desk)

    async def say(agent: Agent, handoff_id: UUID) -> None:
        token = Token(handoff_id, 1)
        verdict = await agent.ask(
            lambda calls, life: calls.complete(life, token, result="said", follow_ups=())
        )
        verdicts.append(verdict)

    async with (
        AgentHost.connect(database.dsn, heartbeat_interval=RARE) as host,
        host.agent("first") as first,
        host.agent("ada") as ada,
        host.agent("eve") as eve,
    ):
        ids = [await desk.give("first", "one"), await desk.give("ada", "two")]
        ids.append(await desk.give("eve", "two"))
        await gate.close("one")
        await gate.close("two")
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as alone:
                alone.start_soon(say, first, ids[0])
                await gate.reached()
                tasks.start_soon(say, ada, ids[1])
                tasks.start_soon(say, eve, ids[2])
                await anyio.wait_all_tasks_blocked()
                await gate.open("one")
            await gate.reached()
            assert await desk.terminate("agent host") == 1
            await gate.open("two")

    assert verdicts == [Verdict.APPLIED] * 3
    told = await desk.sql.fetch(
        "select handoff_id, detail from coordination_events where event = 'handoff.succeeded'"
    )
    assert sorted(row["handoff_id"] for row in told) == sorted(ids)


async def test_a_row_that_somebody_keeps_locked_keeps_nobody_else_waiting(
    database: Database, desk: Desk
) -> None:
    async with crew_at(database, desk) as crew, database.connect() as stranger:
        members = [await crew.join(name) for name in ("ada", "eve", "kim", "joe", "lia")]
        ada, eve, kim, joe, lia = members
        async with stranger.transaction():
            await stranger.execute("select from handoffs where id = $1 for update", eve.id)
            await crew.together(complete, ada, eve, kim)
            assert isinstance(crew.answers["eve"], StoreUnavailable)
            assert [crew.answers[name] for name in ("ada", "kim")] == [Verdict.APPLIED] * 2

            await crew.together(complete, joe, eve, lia)
            assert len(set(await crew.transactions("handoff.succeeded", joe, lia))) == 1

        crew.answers.clear()
        await crew.together(complete, eve)

    assert crew.answers == {"first": Verdict.APPLIED, "eve": Verdict.APPLIED}


async def test_two_groups_that_want_the_same_handoffs_do_not_deadlock(
    database: Database, desk: Desk
) -> None:
    said: dict[str, list[str]] = {}

    async def complete_all(name: str, *members: Member) -> None:
        connection = await Connection.open(connect_target(database.dsn), application_name=name)
        rows = await connection.run(
            "agent_complete_many",
            handoff_id=[member.id for member in members],
            attempt=[1 for _ in members],
            agent_name=[member.life.agent_name for member in members],
            incarnation=[member.life.incarnation for member in members],
            result=[None for _ in members],
            follow_ups=["[]" for _ in members],
            lock_within="10s",
        )
        said[name] = [row["verdict"] for row in rows]
        await connection.close()

    async with crew_at(database, desk) as crew:
        members = [await crew.join("ada", "ada's"), await crew.join("eve", "eve's")]
        low, high = sorted(members, key=lambda member: member.id)
        await crew.gate.close(f"{low.life.agent_name}'s")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(complete_all, "one", low, high)
            await crew.gate.reached()
            tasks.start_soon(complete_all, "other", high, low)
            await crew.gate.queued_behind()
            await crew.gate.open(f"{low.life.agent_name}'s")

    assert said == {"one": ["applied"] * 2, "other": ["repeated"] * 2}


async def test_a_group_has_a_limit_in_bytes(database: Database, desk: Desk) -> None:
    async def word(member: Member) -> Verdict:
        return await member.complete("x" * (MOST_BYTES * 2 // 3))

    async with crew_at(database, desk) as crew:
        members = [await crew.join(name) for name in ("ada", "eve", "kim", "joe")]
        await crew.together(word, *members)

    sizes = Counter(await crew.transactions("handoff.succeeded", *members)).values()
    assert list(sizes) == [2, 2]


async def test_the_answer_to_a_group_has_a_limit_in_bytes(database: Database, desk: Desk) -> None:
    large = {"noise": token_hex(MOST_BYTES // 3)}
    async with crew_at(database, desk) as crew:
        members = [await crew.join(name, context=large) for name in ("ada", "eve", "kim", "joe")]
        await crew.together(Member.take_up, *members)

    assert all(crew.answers[m.life.agent_name].context == large for m in members)
    sizes = Counter(await crew.transactions("handoff.accepted", *members)).values()
    assert sorted(sizes) == [1, 1, 2]


async def test_a_lone_agent_costs_two_statements_a_handoff(database: Database, desk: Desk) -> None:
    async def handler(handoff: HeldHandoff) -> None:
        pass

    async with crew_at(database, desk) as crew:

        async def dial() -> AgentCalls:
            return crew.calls

        async with (
            Station.over(dial, heartbeat_interval=RARE) as station,
            station.post("ada", roles=(), metadata=None) as post,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(Agent(post).run, handler)
            # The first one: its look comes of registering.
            await desk.reaches(await desk.give(), outcome="succeeded")
            with crew.statements() as heard:
                await desk.reaches(await desk.give(), outcome="succeeded")
            tasks.cancel_scope.cancel()

    assert heard == ["agent_take_up", "agent_complete"]


async def test_a_handler_runs_once_its_handoff_is_taken_up(database: Database, desk: Desk) -> None:
    seen: list[tuple[bool, bool]] = []

    async def handler(handoff: HeldHandoff) -> None:
        row = await handoff.look()
        assert row is not None
        seen.append((handoff.row.accepted_at is not None, row.accepted_at is not None))

    async with (
        AgentHost.connect(database.dsn, heartbeat_interval=RARE) as host,
        host.agent("ada") as ada,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ada.run, handler)
        handoff_id = await desk.give()
        await desk.reaches(handoff_id, outcome="succeeded")
        tasks.cancel_scope.cancel()

    assert seen == [(True, True)]
