"""`coordinator mcp` as a client starts it: on stdin and stdout, and how it ends."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import pytest_asyncio

from tests.integration.daemon.daemons import leader
from tests.support.mcp import ERAS, LEGACY, on_stdio
from tests.support.postgres import Cluster, Database
from tests.support.processes import SCRIPT
from tests.support.raw_mcp import raw_stdio
from tests.support.sdk import Desk, desk_at
from tests.support.sockets import listening_sockets
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Nobody listens on port 1.
NOWHERE = {"DATABASE_URL": "postgresql://someone:geheim@127.0.0.1:1/nothing"}
ON_A_BUSY_MACHINE_S = 15
"""The aim is one second, and a quiet machine meets it; `benchmarks/first_answer.py` measures it."""
COSTS_AT_MOST = 1.6
"""Of the time to load the SDK; measured were 0.8 to 1.1."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """One database and one daemon for all tests here: each has agents of its own."""
    async with cluster.database() as database, leader(database):
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


@pytest.mark.parametrize("mode", ERAS)
async def test_a_handoff_is_worked_on_in_both_protocols(
    database: Database, desk: Desk, mode: str
) -> None:
    agent = f"ada-{mode}"
    async with on_stdio(database, agent, mode=mode) as model:
        handoff_id = await desk.put(agent, "sum up", context={"files": ["a.py"]})
        shown = await model.wait()
        token = {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}
        await model.call("accept_handoff", **token)
        await model.call("report_progress", **token, note="half way", percent=50)
        settled = await model.call("complete_handoff", **token, result={"sum": 1})

    assert (shown["task"], shown["from_agent"]) == ("sum up", "boss")
    assert settled["verdict"] == "applied"
    row = await desk.row(handoff_id)
    assert (row["outcome"], row["result"]) == ("succeeded", {"sum": 1})
    assert (await desk.agent(agent))["blocked_reason"] == "left"


async def test_work_goes_from_model_to_model_and_its_result_comes_back(
    database: Database, desk: Desk
) -> None:
    async with (
        on_stdio(database, "claude") as claude,
        on_stdio(database, "codex", "--role", "implementer", mode=LEGACY) as codex,
    ):
        await claude.call("list_agents")
        sent = await claude.call("hand_off", to="implementer", task="write it")
        onward = [{"to": "claude", "task": "review it"}]
        await codex.call(
            "complete_handoff", **await codex.take(), result={"branch": "b1"}, follow_ups=onward
        )
        review = await claude.wait()
        token = {"handoff_id": review["handoff_id"], "attempt": review["attempt"]}
        await claude.call("accept_handoff", **token)
        await claude.call("complete_handoff", **token, result="fine")
        answer = await claude.call("get_handoff", handoff_id=sent["handoff_id"])

    assert (answer["outcome"], answer["result"]) == ("succeeded", {"branch": "b1"})
    assert review["from_agent"] == "codex"
    assert review["lineage"] == {
        "root_id": sent["handoff_id"],
        "parent_id": sent["handoff_id"],
        "hop": 1,
    }
    accepted = await desk.sql.fetch(
        "select agent from coordination_events where event = 'handoff.accepted'"
        " and handoff_id = any ($1::uuid[]) order by sequence",
        [sent["handoff_id"], review["handoff_id"]],
    )
    assert [row["agent"] for row in accepted] == ["codex", "claude"]


async def test_a_client_that_dies_before_it_accepts_gets_the_handoff_again(
    database: Database, desk: Desk
) -> None:
    handoff_id = await desk.put("eve")
    async with on_stdio(database, "eve") as model:
        first = await model.wait()
    # The client closed our stdin, as the kernel does when it dies.
    left = await desk.row(handoff_id)
    async with on_stdio(database, "eve") as model:
        second = await model.wait()
        await model.call(
            "complete_handoff", handoff_id=second["handoff_id"], attempt=second["attempt"]
        )

    assert left["status"] == "pending"
    assert second["handoff_id"] == first["handoff_id"] == str(handoff_id)
    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_server_that_is_killed_loses_nothing(
    database: Database, desk: Desk, accepted: bool
) -> None:
    agent = f"bob-{accepted}"
    handoff_id = await desk.put(agent)
    async with on_stdio(database, agent) as model:
        await (model.take() if accepted else model.wait())
        os.kill(model.pid, signal.SIGKILL)
    held = await desk.row(handoff_id)
    async with on_stdio(database, agent) as model:
        shown = await model.wait()
        await model.call(
            "complete_handoff", handoff_id=shown["handoff_id"], attempt=shown["attempt"]
        )

    assert held["status"] == "in_progress"
    assert shown["attempt"] == 2
    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


async def test_a_signal_makes_it_leave_though_its_client_says_nothing(
    database: Database, desk: Desk
) -> None:
    with _started("tom", DATABASE_URL=database.dsn) as server:
        await eventually(lambda: _status(desk, "tom"))
        sockets = listening_sockets(server.pid)
        server.send_signal(signal.SIGTERM)
        code = await anyio.to_thread.run_sync(server.wait)

    # The only way in is that of its session's hooks.
    assert (code, [each.kind for each in sockets]) == (0, ["unix"])
    assert (await desk.agent("tom"))["blocked_reason"] == "left"


async def test_the_first_answer_does_not_wait_for_the_database() -> None:
    began = time.monotonic()
    with _started("ada", **NOWHERE) as server:
        answers = await anyio.to_thread.run_sync(_introduce, server)
        took = time.monotonic() - began
        error = await anyio.to_thread.run_sync(_call, server, "list_agents")
        server.kill()

    assert answers[0]["result"]["serverInfo"]["name"] == "agent-coordinator"
    assert len(answers[1]["result"]["tools"]) == 11
    assert took < ON_A_BUSY_MACHINE_S
    told = json.loads(error["result"]["content"][0]["text"])["error"]
    assert error["result"]["isError"] is True
    assert told["code"] == "store_unavailable"
    assert "call again" in told["next"]
    assert "geheim" not in json.dumps(error)


async def test_the_first_answer_costs_hardly_more_than_loading_the_protocol_s_sdk() -> None:
    # Processor time of both, and here and now: a busy machine is slow for either.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    await anyio.run_process([sys.executable, "-c", "import mcp.server.lowlevel, mcp.server.stdio"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loading = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    async with raw_stdio(NOWHERE["DATABASE_URL"], "ada") as server:
        answered = server.cpu_s

    assert answered < COSTS_AT_MOST * loading


async def test_another_process_of_the_same_name_ends_the_first(database: Database) -> None:
    async with on_stdio(database, "rob") as first:
        await first.call("list_agents")
        async with on_stdio(database, "rob", mode=LEGACY) as second:
            await second.call("list_agents")
            error = await first.refused("wait_for_handoff")

    assert error["code"] == "ZH002"
    assert error["next"].startswith("Stop")


async def test_a_name_that_the_database_refuses_is_told_by_every_tool(database: Database) -> None:
    async with on_stdio(database, "x" * 200) as model:
        error = await model.refused("wait_for_handoff")

    assert error["code"] == "23514"


def _started(agent: str, **env: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [str(SCRIPT), "mcp", "--agent", agent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": str(Path(sys.executable).parent), **env},
    )


def _introduce(server: "subprocess.Popen[bytes]") -> list[Any]:
    """Say hello as a client of 2025 does, without the SDK; return both answers."""
    me = {"name": "raw", "version": "1"}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me}
    _say(server, id=1, method="initialize", params=hello)
    first = _hear(server)
    _say(server, method="notifications/initialized")
    _say(server, id=2, method="tools/list")
    return [first, _hear(server)]


def _call(server: "subprocess.Popen[bytes]", tool: str) -> Any:
    _say(server, id=3, method="tools/call", params={"name": tool, "arguments": {}})
    return _hear(server)


def _say(server: "subprocess.Popen[bytes]", **message: object) -> None:
    assert server.stdin
    server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    server.stdin.flush()


def _hear(server: "subprocess.Popen[bytes]") -> Any:
    assert server.stdout
    return json.loads(server.stdout.readline())


async def _status(desk: Desk, agent: str) -> str | None:
    status: str | None = await desk.sql.fetchval(
        "select status from agent_status where agent_name = $1", agent
    )
    return status
