"""Any login can notify an agent's channel: the agent looks, and not too often, and that is all."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import anyio
import pytest
import pytest_asyncio

from coordinator.agents import Agent, HeldHandoff
from coordinator.core.model import agent_channel
from tests.support.postgres import Cluster, Database
from tests.support.sdk import RARE, Desk, desk_at
from tests.support.talkative import flooded, talk, talkative_cluster
from tests.support.waiting import eventually

SOON = timedelta(seconds=5)
MEASURED_S = 1.5
LOOKS_AT_ONCE = 30
LOOKS_PER_S = 12
"""Twenty looks in vain, then ten a second."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def talkative() -> AsyncIterator[Cluster]:
    async with talkative_cluster() as cluster:
        yield cluster


@pytest.fixture
async def database(talkative: Cluster) -> AsyncIterator[Database]:
    async with talkative.database() as database:
        yield database


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def push(desk: Desk, event: str, handoff_id: UUID, attempt: int | None = 1) -> None:
    """Forge a push to ada: who handed off knows the id, and the attempt is easily guessed."""
    told = {"event": event, "handoff_id": str(handoff_id)}
    payload = json.dumps(told if attempt is None else told | {"attempt": attempt})
    await desk.sql.execute("select pg_notify(agent_channel('ada'), $1)", payload)


@pytest.mark.parametrize("event", ["taken_back", "cancel_requested"])
@pytest.mark.parametrize("attempt", [1, None])
async def test_a_forged_push_does_not_stop_the_work(
    database: Database, desk: Desk, event: str, attempt: int | None
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada:
        handoff_id = await desk.give()
        async with await next_of(ada) as handoff:
            seen = (await desk.agent())["last_seen"]
            await push(desk, event, handoff_id, attempt)

            # It asks the database, whose answer is the truth.
            await heartbeat_after(desk, seen)
            await handoff.report_progress("undisturbed")
            handoff.result = "done"

    row = await desk.row(handoff_id)
    assert (row["outcome"], row["attempt"]) == ("succeeded", 1)


async def test_a_true_cancellation_is_heard_without_waiting_for_a_heartbeat(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada:
        handoff_id = await desk.give()
        with anyio.fail_after(SOON.total_seconds()):
            async with await next_of(ada):
                await desk.sql.execute("select cancel_handoff($1, 'enough')", handoff_id)
                await anyio.sleep_forever()

    assert (await desk.row(handoff_id))["outcome"] == "cancelled"


@pytest.mark.parametrize(
    "payload",
    [
        "g || clock_timestamp()::text",
        "json_build_object('event', 'dispatched', 'handoff_id', gen_random_uuid(),"
        " 'attempt', g)::text",
    ],
    ids=["unreadable", "there is work"],
)
async def test_a_flood_of_forged_pushes_makes_an_idle_agent_look_a_few_times(
    database: Database, desk: Desk, payload: str
) -> None:
    async with (
        Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada,
        anyio.create_task_group() as tasks,
    ):
        done: list[HeldHandoff] = []

        async def answer() -> None:
            async for handoff in ada.handoffs():
                async with handoff:
                    done.append(handoff)

        tasks.start_soon(answer)
        async with flooded(database, flood(payload)):
            during = await talk(database, seconds=MEASURED_S)
            await desk.reaches(await desk.give(), outcome="succeeded")
        tasks.cancel_scope.cancel()

    assert during.statements["agent ada"] <= LOOKS_AT_ONCE + LOOKS_PER_S * during.seconds
    assert len(done) == 1


async def test_a_flood_of_forged_pushes_makes_a_working_agent_ask_a_few_times(
    database: Database, desk: Desk
) -> None:
    async with Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada:
        handoff_id = await desk.give()
        # No two are the same: within a transaction PostgreSQL drops repetitions.
        stops = (
            f"json_build_object('event', 'taken_back', 'handoff_id', '{handoff_id}',"
            " 'attempt', 1)::text || repeat(' ', g)"
        )
        async with await next_of(ada), flooded(database, flood(stops)):
            during = await talk(database, seconds=MEASURED_S)

    assert during.statements["agent ada"] <= LOOKS_AT_ONCE + LOOKS_PER_S * during.seconds
    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


async def test_a_flood_of_forged_ends_makes_a_waiting_sender_look_a_few_times(
    database: Database, desk: Desk
) -> None:
    async with (
        Agent.connect(database.dsn, "ada", heartbeat_interval=RARE) as ada,
        anyio.create_task_group() as tasks,
    ):
        sent = await ada.hand_off("ada", "for later", wait=timedelta(minutes=1))
        outcomes = []

        async def wait() -> None:
            outcomes.append((await sent.result()).outcome)

        tasks.start_soon(wait)
        ends = (
            f"json_build_object('event', 'succeeded', 'handoff_id', '{sent.id}',"
            " 'attempt', 1 + (random() * 1000)::integer)::text"
        )
        async with flooded(database, flood(ends)):
            during = await talk(database, seconds=MEASURED_S)
            assert outcomes == []
            await sent.cancel()

    assert during.statements["agent ada"] <= LOOKS_AT_ONCE + LOOKS_PER_S * during.seconds
    assert outcomes == ["cancelled"]


# --- acts and looks -------------------------------------------------------------------------------


async def next_of(agent: Agent) -> HeldHandoff:
    return await anext(agent.handoffs())


def flood(payload: str) -> str:
    """Push this to ada twenty times; the channel's name is no secret."""
    return f"select pg_notify('{agent_channel('ada')}', {payload}) from generate_series(1, 20) g"


async def heartbeat_after(desk: Desk, seen: object) -> None:
    """Wait for ada's next heartbeat."""

    async def probe() -> bool:
        return bool((await desk.agent())["last_seen"] != seen)

    await eventually(probe)
