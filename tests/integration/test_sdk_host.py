"""Many agents in one process, on one connection."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import anyio
import pytest

from coordinator.agents import Agent, AgentHost, HeldHandoff, RequestRefused, StoreUnavailable
from coordinator.core.errors import ConfigError
from tests.support.postgres import Database
from tests.support.sdk import FAST, RARE, Desk, desk_at
from tests.support.waiting import eventually

AGENTS = 1000


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def test_a_thousand_agents_share_one_connection(database: Database, desk: Desk) -> None:
    names = [f"agent-{n}" for n in range(AGENTS)]
    done: set[str] = set()

    async def handler(handoff: HeldHandoff) -> str:
        done.add(handoff.to_agent)
        return handoff.to_agent

    async with (
        AgentHost.connect(database.dsn, heartbeat_interval=RARE) as host,
        AsyncExitStack() as stack,
        anyio.create_task_group() as tasks,
    ):
        for name in names:
            agent = await stack.enter_async_context(host.agent(name))
            tasks.start_soon(agent.run, handler)
        assert len(await desk.backends("agent host")) == 1

        await desk.sql.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " select 'boss', unnest($1::text[]), 'do it'",
            names,
        )
        await desk.dispatch(*names, count=AGENTS)
        await eventually(lambda: _all_completed(desk), within=timedelta(minutes=1))
        tasks.cancel_scope.cancel()

    assert done == set(names)
    incarnations = await desk.sql.fetch("select distinct incarnation from agent_status")
    assert [row["incarnation"] for row in incarnations] == [host.incarnation]


async def test_one_heartbeat_carries_all_agents_of_a_host(database: Database, desk: Desk) -> None:
    async with (
        AgentHost.connect(database.dsn, heartbeat_interval=FAST) as host,
        host.agent("ada"),
        host.agent("eve"),
    ):
        before = await desk.sql.fetchval("select max(last_seen) from agent_status")

        async def both_were_seen_again() -> bool:
            seen = await desk.sql.fetch("select distinct last_seen from agent_status")
            return len(seen) == 1 and seen[0]["last_seen"] > before

        await eventually(both_were_seen_again)


async def test_a_replaced_agent_does_not_disturb_its_neighbours(
    database: Database, desk: Desk
) -> None:
    async with (
        AgentHost.connect(database.dsn, heartbeat_interval=FAST) as host,
        host.agent("ada") as ada,
        host.agent("eve") as eve,
        Agent.connect(database.dsn, "ada"),
    ):
        with pytest.raises(RequestRefused, match="another process"):
            await anext(ada.handoffs())
        handoff_id = await desk.give("eve")
        async with await anext(eve.handoffs()):
            pass

    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


async def test_a_name_is_taken_once_in_a_process(database: Database) -> None:
    async with AgentHost.connect(database.dsn) as host, host.agent("ada"):
        with pytest.raises(ValueError, match="in this process already"):
            async with host.agent("ada"):
                pass


async def test_an_agent_that_left_may_come_back(database: Database, desk: Desk) -> None:
    async with AgentHost.connect(database.dsn, heartbeat_interval=RARE) as host:
        async with host.agent("ada"):
            pass
        assert (await desk.agent())["blocked_reason"] == "left"
        async with host.agent("ada") as ada, anyio.create_task_group() as tasks:
            tasks.start_soon(_complete_one, ada)
            handoff_id = await desk.give()
            await desk.reaches(handoff_id, outcome="succeeded")


async def test_an_agent_can_say_what_it_does(database: Database, desk: Desk) -> None:
    async with Agent.connect(database.dsn, "ada") as ada:
        await ada.set_status("blocked", reason="no quota", current_task="waiting for quota")
        row = await desk.agent()
        assert (row["status"], row["blocked_reason"]) == ("blocked", "no quota")
        assert row["current_task"] == "waiting for quota"
        assert await ada.set_status("idle") == "idle"
        with pytest.raises(RequestRefused, match="reserved"):
            await ada.set_status("blocked", reason="stale")


async def test_a_name_that_the_database_refuses_is_the_callers_error(database: Database) -> None:
    for name in ("two\nlines", "", "nul\0", "x" * 129):
        with pytest.raises(RequestRefused):
            async with Agent.connect(database.dsn, name):
                pass


async def test_a_database_that_is_not_there_is_an_error_at_the_start(database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        async with Agent.connect(f"{database.dsn}&port=1", "ada"):
            pass
    with pytest.raises(ConfigError, match="does not exist"):
        async with Agent.connect(database.dsn.replace(database.name, "nowhere"), "ada"):
            pass


async def test_a_database_without_the_schema_is_an_error_at_the_start(
    fresh_database: Database,
) -> None:
    with pytest.raises(RequestRefused, match="coordinator migrate"):
        async with Agent.connect(fresh_database.dsn, "ada"):
            pass


async def _all_completed(desk: Desk) -> bool:
    left = await desk.sql.fetchval("select count(*) from handoffs where status <> 'completed'")
    return bool(left == 0)


async def _complete_one(agent: Agent) -> None:
    async with await anext(agent.handoffs()):
        pass
