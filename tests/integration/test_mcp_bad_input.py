"""Bad input to every tool, made from its schema: what it says, and that it wrote nothing.

A tool that refuses its arguments says so itself. What is no message at all to the server's parser
is refused by the protocol's own error, with the same words in it.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from coordinator.agents.mcp.tools import TOOLS
from tests.integration.daemon.daemons import leader
from tests.support.bad_input import Arguments, bad_arguments
from tests.support.mcp import http_server
from tests.support.postgres import Cluster, Database
from tests.support.raw_mcp import RawHttp, RawStdio, content_of, error_of, raw_http, raw_stdio
from tests.support.sdk import Desk, desk_at

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

WAYS_IN = ("http", "stdio")
_DOES_NOT_FIT = {"invalid_arguments", "unreadable", "ZH006"}
"""The last is the database's: a value beyond its limits."""
_SETTLING = {
    "decline_handoff": {"reason": "no"},
    "complete_handoff": {},
    "fail_handoff": {"reason": "no"},
}
_HOLDING = {"accept_handoff": {}, "report_progress": {"note": "half way"}, **_SETTLING}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """One database and one daemon for all tests here: each has agents of its own."""
    async with cluster.database() as database, leader(database):
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


@pytest.mark.parametrize("way", WAYS_IN)
@pytest.mark.parametrize("tool", TOOLS)
async def test_arguments_that_do_not_fit_are_refused_with_a_way_out_and_write_nothing(
    database: Database, desk: Desk, tool: str, way: str
) -> None:
    async with _server(database, f"{tool}-{way}", way) as server:
        token = await _take(server, desk, f"{tool}-{way}")
        good = {**_good(tool), **(token if "handoff_id" in _required(tool) else {})}
        before = await _written(desk, f"{tool}-{way}")
        told = {
            what: error_of(await server.call(tool, arguments))["code"]
            for what, arguments in bad_arguments(TOOLS[tool].takes.model_json_schema(), good)
        }
        after = await _written(desk, f"{tool}-{way}")
        ended = content_of(await server.call("complete_handoff", token))

    assert "unknown field" in told
    assert {what: code for what, code in told.items() if code not in _DOES_NOT_FIT} == {}
    assert after == before
    assert ended["verdict"] == "applied"  # it is still in hand


@pytest.mark.parametrize("way", WAYS_IN)
@pytest.mark.parametrize("tool", _HOLDING)
async def test_what_is_another_s_or_over_or_unknown_is_refused_and_no_handoff_changes(
    database: Database, desk: Desk, tool: str, way: str
) -> None:
    agent = f"holder-{tool}-{way}"
    other = f"other-{tool}-{way}"
    await desk.sql.execute("select agent_name from register_agent($1, $2)", other, uuid4())
    theirs = await desk.put(other)
    await desk.reaches(theirs, status="in_progress")
    async with _server(database, agent, way) as server:
        token = await _take(server, desk, agent)
        before = await _handoffs(desk, agent, other)
        codes = [
            error_of(await server.call(tool, {**_HOLDING[tool], **not_ours}))["code"]
            for not_ours in (
                {"handoff_id": str(theirs), "attempt": 1},
                {**token, "attempt": token["attempt"] + 1},
                {**token, "attempt": token["attempt"] - 1},
                {"handoff_id": str(uuid4()), "attempt": 1},
            )
        ]
        after = await _handoffs(desk, agent, other)
        ended = content_of(await server.call("complete_handoff", token))

    assert codes == ["lease_lost"] * 4
    assert after == before
    assert ended["verdict"] == "applied"


@asynccontextmanager
async def _server(database: Database, agent: str, way: str) -> AsyncIterator[RawHttp | RawStdio]:
    if way == "stdio":
        async with raw_stdio(database, agent) as stdio:
            yield stdio
    else:
        async with http_server(database, agent) as (_, url), raw_http(url) as http:
            yield http


async def _take(server: RawHttp | RawStdio, desk: Desk, agent: str) -> dict[str, Any]:
    await desk.put(agent)
    shown = content_of(await server.call("wait_for_handoff", {}))["handoff"]
    token = {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}
    content_of(await server.call("accept_handoff", token))
    return token


def _required(tool: str) -> list[str]:
    required: list[str] = TOOLS[tool].takes.model_json_schema().get("required", [])
    return required


def _good(tool: str) -> Arguments:
    given: Mapping[str, Any] = {
        "to": "nobody-yet",
        "task": "help",
        "reason": "no",
        "note": "half way",
        "status": "working",
    }
    # A failure that is tried again keeps no result, of whatever size.
    more = {"retry": False} if tool == "fail_handoff" else {}
    return {name: given[name] for name in _required(tool) if name in given} | more


async def _written(desk: Desk, agent: str) -> list[object]:
    """Everything that an agent's calls could have written, but for heartbeats.

    Whoever was here before may still be leaving.
    """
    row = await desk.sql.fetchval(
        "select to_jsonb(a) - 'last_seen' from agent_status a where agent_name = $1", agent
    )
    events = await desk.sql.fetchval(
        "select count(*) from coordination_events e where agent = $1 or exists"
        " (select from handoffs h where h.id = e.handoff_id and $1 in (from_agent, to_agent))",
        agent,
    )
    return [await _handoffs(desk, agent), row, events]


async def _handoffs(desk: Desk, *agents: str) -> list[tuple[object, ...]]:
    rows = await desk.sql.fetch(
        "select id, xmin::text, ctid::text from handoffs"
        " where from_agent = any ($1) or to_agent = any ($1) order by id",
        agents,
    )
    return [tuple(row) for row in rows]
