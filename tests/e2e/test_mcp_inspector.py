"""Every tool, resource and prompt through the protocol's own inspector, in both protocols.

Each call of `mcp-inspector --cli` is a process. Over HTTP they all meet one server, one life of the
agent. On stdio each starts a server, a new life, which gives back what the one before it was shown:
no attempt outlives the call that showed it there. So `mcpdo`, which keeps its connection, does the
work on stdio.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from coordinator.agents.mcp.tools import TOOLS
from tests.integration.daemon.daemons import leader
from tests.support.inspector import ERAS, Inspector, OneShot, connected
from tests.support.mcp import http_server
from tests.support.postgres import Cluster, Database
from tests.support.sdk import Desk, desk_at

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.clients,
    pytest.mark.timeout(600),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """One database and one daemon for all tests here: each has an agent of its own."""
    async with cluster.database() as database, leader(database):
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        await desk.no_pause_before_retries()
        yield desk


@pytest.mark.parametrize("era", ERAS)
async def test_over_http_each_call_is_a_process_and_the_work_goes_on(
    database: Database, desk: Desk, tmp_path: Path, era: str
) -> None:
    agent = f"http-{era}"
    async with http_server(database, agent) as (_, url):
        inspector = OneShot.at(url, era=era, home=tmp_path)
        called = await _all_that_tools_do(inspector, desk, agent)
        error = await inspector.refused("get_handoff", handoff_id="the first one")
        await _look_around(inspector, agent)

    assert called == set(TOOLS)
    assert error["code"] == "invalid_arguments"
    assert "input schema" in error["next"]


@pytest.mark.parametrize("era", ERAS)
async def test_on_stdio_one_connection_does_all_of_it(
    database: Database, desk: Desk, era: str
) -> None:
    agent = f"stdio-{era}"
    async with connected(database, agent, era=era) as inspector:
        called = await _all_that_tools_do(inspector, desk, agent)
        await _look_around(inspector, agent)

    assert called == set(TOOLS)
    assert (await desk.agent(agent))["blocked_reason"] == "left"


@pytest.mark.parametrize("era", ERAS)
async def test_on_stdio_each_call_is_another_life_and_what_was_shown_to_the_last_is_not_its_own(
    database: Database, desk: Desk, tmp_path: Path, era: str
) -> None:
    agent = f"lives-{era}"
    inspector = OneShot.starting(database, agent, era=era, home=tmp_path)
    listed = await inspector.ask("tools/list", strict="")  # fails for an error in a schema
    await inspector.call("set_status", status="working", current_task="trying it")
    sent = await inspector.call("hand_off", to=agent, task="sum up", context={"n": [1]})
    shown = (await inspector.call("wait_for_handoff"))["handoff"]
    token = {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}
    codes = {
        tool: (await inspector.refused(tool, **token, **more))["code"]
        for tool, more in _ABOUT_AN_ATTEMPT.items()
    }
    looked = await inspector.call("get_handoff", handoff_id=sent["handoff_id"])
    agents = await inspector.call("list_agents")
    cancelled = await inspector.call("cancel_handoff", handoff_id=sent["handoff_id"])

    assert {tool["name"] for tool in listed["tools"]} == set(TOOLS)
    assert shown["handoff_id"] == sent["handoff_id"]
    assert codes == dict.fromkeys(_ABOUT_AN_ATTEMPT, "lease_lost")
    assert (looked["status"], looked["attempt"]) == ("pending", 1)
    assert agents["you"] == agent
    assert cancelled["answer"] == "cancelled"
    [row] = await desk.sql.fetch("select * from handoffs where to_agent = $1", agent)
    assert (row["outcome"], row["attempt"], row["result"]) == ("cancelled", 1, None)


_ABOUT_AN_ATTEMPT: dict[str, dict[str, object]] = {
    "accept_handoff": {},
    "decline_handoff": {"reason": "no time"},
    "report_progress": {"note": "half way"},
    "complete_handoff": {"result": "late"},
    "fail_handoff": {"reason": "no"},
}


async def _all_that_tools_do(inspector: Inspector, desk: Desk, agent: str) -> set[str]:
    """Hand three tasks to oneself: one is done, one refused, one called back. Name the tools."""
    called: set[str] = set()

    async def call(tool: str, /, **arguments: object) -> dict[str, Any]:
        called.add(tool)
        return await inspector.call(tool, **arguments)

    async def shown() -> dict[str, object]:
        handoff = (await call("wait_for_handoff"))["handoff"]
        return {"handoff_id": handoff["handoff_id"], "attempt": handoff["attempt"]}

    assert (await call("list_agents"))["you"] == agent
    assert (await call("set_status", status="blocked", reason="no quota"))["status"] == "blocked"
    first = (await call("hand_off", to=agent, task="write it", context={"n": 1}))["handoff_id"]
    token = await shown()
    assert token == {"handoff_id": first, "attempt": 1}
    assert (await call("accept_handoff", **token))["handoff"]["context"] == {"n": 1}
    assert not (await call("report_progress", **token, note="half way", percent=50))["should_stop"]
    onward = [{"to": agent, "task": "review it"}]
    done = await call("complete_handoff", **token, result={"lines": 3}, follow_ups=onward)
    assert done["verdict"] == "applied"
    answer = await call("get_handoff", handoff_id=first)
    assert (answer["outcome"], answer["result"]) == ("succeeded", {"lines": 3})

    token = await shown()
    await call("decline_handoff", **token, reason="not my trade")
    again = await shown()
    assert again == {**token, "attempt": 2}
    await call("fail_handoff", **again, reason="nobody can", retry=False)

    third = (await call("hand_off", to="nobody-yet", task="never mind"))["handoff_id"]
    assert (await call("cancel_handoff", handoff_id=third, reason="no"))["answer"] == "cancelled"

    rows = await desk.sql.fetch(
        "select outcome, attempt from handoffs where from_agent = $1 order by position", agent
    )
    assert [tuple(row) for row in rows] == [("succeeded", 1), ("failed", 2), ("cancelled", 0)]
    return called


async def _look_around(inspector: Inspector, agent: str) -> None:
    """List and read the resources, list and fill in the prompts."""

    async def read(uri: str) -> dict[str, Any]:
        [content] = (await inspector.ask("resources/read", uri=uri))["contents"]
        document: dict[str, Any] = json.loads(content["text"])
        return document

    tools = (await inspector.ask("tools/list"))["tools"]
    resources = (await inspector.ask("resources/list"))["resources"]
    templates = (await inspector.ask("resources/templates/list"))["resourceTemplates"]
    handoff_id = (await inspector.call("hand_off", to="nobody-yet", task="look"))["handoff_id"]
    read_all = [await read(each["uri"]) for each in resources]
    shown, trace = [
        await read(each["uriTemplate"].replace("{handoff_id}", handoff_id)) for each in templates
    ]
    prompts = (await inspector.ask("prompts/list"))["prompts"]
    filled = await inspector.ask("prompts/get", prompt_name="hand_this_off", prompt_args="to=eve")

    assert [tool["name"] for tool in tools] == list(TOOLS)
    assert [each["you"] for each in read_all] == [agent, agent]
    assert shown["task"] == "look"
    assert [step["event"] for step in trace["steps"]] == ["handoff.queued"]
    assert [each["name"] for each in prompts] == ["work_the_inbox", "hand_this_off"]
    assert "eve" in filled["messages"][0]["content"]["text"]
