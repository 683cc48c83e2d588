"""Clumsy and hostile clients of the MCP server: what no library would send, or leave unread."""

from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import pytest
import pytest_asyncio

from tests.integration.daemon.daemons import leader
from tests.support.mcp import ERAS, http_server, over_http
from tests.support.postgres import Cluster, Database
from tests.support.raw_mcp import RawStdio, content_of, error_of, raw_stdio
from tests.support.sdk import Desk, desk_at
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LIST = b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}\n'
_ENDS_WITHIN_S = 30


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """One database and one daemon for all tests here: each has an agent of its own."""
    async with cluster.database() as database, leader(database):
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


async def test_whoever_sends_what_cannot_be_read_is_answered_and_served_on(
    database: Database,
) -> None:
    halved = b'{"method":"tools/call","params":{"name":"hand_off","arguments":%s},"id":7}\n'
    async with raw_stdio(database, "cut") as server:
        await server.send(halved % b'{"to":"eve","task":"half \\ud83d"}')
        told = await server.hear()
        await server.send(b"this is no JSON\n\n\xff\xfe\n")
        others = [await server.hear(), await server.hear()]
        agents = content_of(await server.call("list_agents", {}))

    assert told["id"] == 7
    assert error_of(told)["code"] == "unreadable"
    assert [each["id"] for each in others] == [None, None]
    assert agents["you"] == "cut"


@pytest.mark.parametrize("how", ["signal", "end of stdin"])
async def test_it_leaves_though_its_client_reads_nothing(
    database: Database, desk: Desk, how: str
) -> None:
    agent = f"deaf-{how}"
    async with raw_stdio(database, agent) as server:
        content_of(await server.call("list_agents", {}))
        await _fill_its_stdout(server)
        with anyio.fail_after(_ENDS_WITHIN_S):
            if how == "signal":
                server.process.terminate()
            else:
                assert server.process.stdin
                await server.process.stdin.aclose()
            code = await server.process.wait()

    assert code == 0
    assert (await desk.agent(agent))["blocked_reason"] == "left"


async def test_a_message_of_many_megabytes_is_refused_and_costs_little_more_than_its_length(
    database: Database,
) -> None:
    costs = []
    async with raw_stdio(database, "long") as server:
        for megabytes in (8, 32):
            before = server.cpu_s
            answer = await server.call("hand_off", {"to": "eve", "task": "x" * megabytes * 10**6})
            costs.append(server.cpu_s - before)
            assert error_of(answer)["code"] == "ZH006"

    # Four times as long: to join it anew with each piece would cost sixteen times as much.
    assert costs[1] < 9 * costs[0]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("depth", [150, 300, 5000])
async def test_what_is_nested_too_deep_for_clients_is_shown_as_text_and_can_be_declined(
    database: Database, desk: Desk, depth: int, mode: str
) -> None:
    agent = f"deep-{depth}-{mode}"
    strange = '{"a": ' + "[" * depth + "]" * depth + "}"
    async with http_server(database, agent) as (_, url), over_http(url, mode=mode) as model:
        await model.call("list_agents")
        await desk.sql.execute(
            "insert into handoffs (from_agent, to_agent, task_description, context)"
            " values ('mallory', $1, 'look', $2::text::jsonb)",
            agent,
            strange,
        )
        shown = await model.wait()
        token = {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}
        await model.call("fail_handoff", **token, reason="no such thing", retry=False)
        looked = await model.call("get_handoff", handoff_id=shown["handoff_id"])

    [(name, text)] = shown["context"].items()
    assert name in {"too_deep_to_show", "unreadable"}
    assert isinstance(text, str)
    assert looked["outcome"] == "failed"


async def _fill_its_stdout(server: RawStdio) -> None:
    """Ask until it cannot answer any more: a pipe holds 64 KiB, the answers are two megabytes."""
    for number in range(100):
        await server.send(_LIST % (1000 + number))
    await server.hear()
    used = [server.cpu_s]

    async def is_stuck() -> bool:
        await anyio.sleep(0.1)
        used.append(server.cpu_s)
        return len(used) > 10 and used[-10] == used[-1]

    await eventually(is_stuck, within=timedelta(seconds=_ENDS_WITHIN_S))
