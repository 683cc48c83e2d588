"""kill -9 at each point of a handoff's way through the MCP server: nothing is lost or doubled.

That a server is killed while a handoff is shown, or in work, is in `test_mcp.py`.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import pytest_asyncio
from mcp.shared.exceptions import MCPError

from tests.integration.daemon.daemons import leader
from tests.support.mcp import ERAS, Model, http_server, on_stdio, over_http
from tests.support.postgres import Cluster, Database
from tests.support.processes import SCRIPT, running
from tests.support.sdk import Desk, desk_at
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A client that has heard of its handoff, and does nothing with it.
_CLIENT = """
import json, subprocess, sys, time
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), file=server.stdin, flush=True)
me = {"name": "doomed", "version": "1"}
hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me}
say(id=1, method="initialize", params=hello)
server.stdout.readline()
say(method="notifications/initialized")
say(id=2, method="tools/call", params={"name": "wait_for_handoff", "arguments": {}})
print(server.stdout.readline(), flush=True)
time.sleep(600)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """One database and one daemon for all tests here: each has an agent of its own."""
    async with cluster.database() as database, leader(database):
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def test_a_client_that_is_killed_before_it_accepts_has_lost_nothing(
    database: Database, desk: Desk
) -> None:
    handoff_id = await desk.put("eve")
    server = (str(SCRIPT), "mcp", "--agent", "eve")
    env = {"DATABASE_URL": database.dsn}
    async with running([sys.executable, "-c", _CLIENT, *server], env=env) as client:

        async def has_heard() -> bool:
            return str(handoff_id) in client.stdout

        await eventually(has_heard)
        client.kill()
        await client.wait()
        left = await desk.reaches(handoff_id, status="pending")
    async with on_stdio(database, "eve") as model:
        shown = await model.wait()
        await model.call("complete_handoff", **_token(shown))

    assert left["attempt"] == 1
    assert (shown["handoff_id"], shown["attempt"]) == (str(handoff_id), 2)
    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


@pytest.mark.parametrize("mode", ERAS)
async def test_what_is_sent_to_a_server_that_was_killed_in_its_wait_reaches_the_next_one(
    database: Database, desk: Desk, mode: str
) -> None:
    agent = f"wim-{mode}"
    async with on_stdio(database, agent, mode=mode) as model, anyio.create_task_group() as tasks:
        tasks.start_soon(_unanswered, model, "wait_for_handoff", {})
        await _is_idle(desk, agent)
        os.kill(model.pid, signal.SIGKILL)
        # Nobody has noticed yet: it may be given to the dead.
        handoff_id = await desk.put(agent)
    async with on_stdio(database, agent, mode=mode) as model:
        shown = await model.wait()
        await model.call("complete_handoff", **_token(shown), result="done")

    assert shown["handoff_id"] == str(handoff_id)
    row = await desk.row(handoff_id)
    assert (row["outcome"], row["result"]) == ("succeeded", "done")


async def test_a_completion_whose_server_was_killed_counts_once_with_its_follow_ups(
    database: Database, desk: Desk
) -> None:
    handoff_id = await desk.put("max")
    onward = [{"to": "nobody-yet", "task": "review it"}]
    async with (
        on_stdio(database, "max") as model,
        database.connect() as stranger,
        anyio.create_task_group() as tasks,
    ):
        token = await model.take()
        async with stranger.transaction():
            await stranger.execute("select from handoffs where id = $1 for update", handoff_id)
            completion = {**token, "result": 1, "follow_ups": onward}
            tasks.start_soon(_unanswered, model, "complete_handoff", completion)
            await _waits_for_a_lock(desk, "mcp max")
            os.kill(model.pid, signal.SIGKILL)
        # The statement was under way, and is carried out; its answer reaches nobody.
        await desk.reaches(handoff_id, status="completed")
    async with on_stdio(database, "max") as model:
        error = await model.refused("complete_handoff", **token, result=1, follow_ups=onward)
        shown = await model.call("get_handoff", handoff_id=token["handoff_id"])

    assert error["code"] == "lease_lost"
    assert (shown["outcome"], shown["result"]) == ("succeeded", 1)
    assert await _follow_ups(desk, handoff_id) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_a_completion_whose_client_has_gone_is_repeated_and_counts_once(
    database: Database, desk: Desk, mode: str
) -> None:
    agent = f"tim-{mode}"
    handoff_id = await desk.put(agent)
    onward = [{"to": "nobody-yet", "task": "review it"}]
    async with http_server(database, agent) as (_, url), database.connect() as stranger:
        async with over_http(url, mode=mode) as model, anyio.create_task_group() as tasks:
            token = await model.take()
            async with stranger.transaction():
                await stranger.execute("select from handoffs where id = $1 for update", handoff_id)
                completion = {**token, "result": 1, "follow_ups": onward}
                tasks.start_soon(model.client.call_tool, "complete_handoff", completion)
                await _waits_for_a_lock(desk, f"mcp {agent}")
                tasks.cancel_scope.cancel()
        async with over_http(url, mode=mode) as model:
            again = await model.call("complete_handoff", **token, result=1, follow_ups=onward)

    assert again["verdict"] in {"applied", "repeated"}  # as the first was withdrawn in time, or not
    assert (await desk.row(handoff_id))["outcome"] == "succeeded"
    assert await _follow_ups(desk, handoff_id) == 1


async def _unanswered(model: Model, tool: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(MCPError, match="Connection closed"):
        await model.client.call_tool(tool, arguments)


def _token(shown: dict[str, Any]) -> dict[str, Any]:
    return {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}


async def _is_idle(desk: Desk, agent: str) -> None:
    async def probe() -> bool:
        status = "select status from agent_status where agent_name = $1"
        return bool(await desk.sql.fetchval(status, agent) == "idle")

    await eventually(probe)


async def _waits_for_a_lock(desk: Desk, application_name: str) -> None:
    async def probe() -> bool:
        waiting = (
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database() and application_name = $1)"
        )
        return bool(await desk.sql.fetchval(waiting, application_name))

    await eventually(probe)


async def _follow_ups(desk: Desk, handoff_id: object) -> int:
    count: int = await desk.sql.fetchval(
        "select count(*) from handoffs where parent_id = $1", handoff_id
    )
    return count
