"""The examples, run as they stand, by a daemon that runs as it stands."""

import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.daemon.daemons import leader
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running
from tests.support.programs import a_working
from tests.support.sdk import Desk, desk_at

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def test_the_sdk_agents_hand_work_to_each_other(database: Database, desk: Desk) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(leader(database))
        builder = await _start(stack, database, [sys.executable, EXAMPLES / "sdk/builder.py", "1"])
        reviewer = await _start(
            stack, database, [sys.executable, EXAMPLES / "sdk/reviewer.py", "1"]
        )
        built = await desk.put("builder", "a bridge")
        row = await desk.reaches(built, outcome="succeeded")
        assert row["result"] == {"text": "A BRIDGE"}
        review = await desk.sql.fetchval("select id from handoffs where parent_id = $1", built)
        row = await desk.reaches(review, outcome="succeeded")
        assert row["result"] == {"verdict": "fine", "for": "ada"}
        assert (await builder.wait(), await reviewer.wait()) == (0, 0)


async def test_the_asyncpg_agent_does_its_work(database: Database, desk: Desk) -> None:
    example = EXAMPLES / "python_asyncpg/agent.py"
    await _does_two(database, desk, "plain-python", [sys.executable, example, "2"])


async def test_the_psql_agent_does_its_work(database: Database, desk: Desk) -> None:
    if a_working("psql") is None:
        pytest.skip("there is no psql on the PATH")
    await _does_two(database, desk, "plain-psql", ["bash", EXAMPLES / "psql/agent.sh", "2"])


@pytest.mark.js
async def test_the_javascript_agent_does_its_work(database: Database, desk: Desk) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on the PATH")
    await _does_two(
        database, desk, "plain-javascript", [node, EXAMPLES / "javascript/agent.mjs", "2"]
    )


async def _does_two(
    database: Database, desk: Desk, agent: str, command: Sequence[str | Path]
) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(leader(database))
        # One waits when the agent comes, and the other comes while the agent waits.
        first = await desk.put(agent, "don't panic")
        process = await _start(stack, database, command)
        await desk.reaches(first, outcome="succeeded", result={"text": "DON'T PANIC"})
        second = await desk.put(agent, "ship it")
        await desk.reaches(second, outcome="succeeded", result={"text": "SHIP IT"})
        assert await process.wait() == 0, process
        assert (await desk.agent(agent))["blocked_reason"] == "offline"


async def _start(
    stack: AsyncExitStack, database: Database, command: Sequence[str | Path]
) -> RunningProcess:
    return await stack.enter_async_context(
        running(command, env={"DATABASE_URL": database.dsn}, cwd=EXAMPLES.parent)
    )
