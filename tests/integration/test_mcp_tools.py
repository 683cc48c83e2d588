"""The MCP server's tools as a model meets them: the SDK's client, a real server, a real daemon.

The server speaks HTTP here, since one of it serves all tests; `tests/e2e/test_mcp.py` has stdio.
"""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import mcp_types as types
import pytest
import pytest_asyncio
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from tests.integration.daemon.daemons import leader
from tests.support.mcp import ERAS, LEGACY, MODERN, Model, http_server, over_http
from tests.support.postgres import Cluster, Database
from tests.support.sdk import Desk, desk_at
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOOLS = [
    "list_agents",
    "wait_for_handoff",
    "accept_handoff",
    "decline_handoff",
    "report_progress",
    "complete_handoff",
    "fail_handoff",
    "hand_off",
    "cancel_handoff",
    "get_handoff",
    "set_status",
]
NOBODYS = {"handoff_id": str(uuid4()), "attempt": 1}
BAD_INPUT: list[tuple[str, dict[str, object], str]] = [
    ("wait_for_handoff", {"at_most_s": "soon"}, "invalid_arguments"),
    ("wait_for_handoff", {"patience": 3}, "invalid_arguments"),
    ("accept_handoff", {"handoff_id": "the first one", "attempt": 1}, "invalid_arguments"),
    ("accept_handoff", NOBODYS, "lease_lost"),
    ("decline_handoff", {**NOBODYS, "reason": ""}, "invalid_arguments"),
    ("decline_handoff", {**NOBODYS, "reason": "no time"}, "lease_lost"),
    ("report_progress", {**NOBODYS, "note": "half", "percent": 500}, "invalid_arguments"),
    ("report_progress", {**NOBODYS, "note": "half"}, "lease_lost"),
    ("complete_handoff", {"handoff_id": NOBODYS["handoff_id"]}, "invalid_arguments"),
    ("complete_handoff", {**NOBODYS, "follow_ups": [{"to": "eve"}]}, "invalid_arguments"),
    ("complete_handoff", {**NOBODYS, "result": 1}, "lease_lost"),
    ("fail_handoff", NOBODYS, "invalid_arguments"),
    ("fail_handoff", {**NOBODYS, "reason": "no"}, "lease_lost"),
    ("hand_off", {"to": "eve"}, "invalid_arguments"),
    ("hand_off", {"to": "eve", "task": "t", "delay_s": -1}, "invalid_arguments"),
    ("hand_off", {"to": "eve", "task": "nul \0"}, "invalid_arguments"),
    ("hand_off", {"to": "two\nlines", "task": "t"}, "23514"),
    ("hand_off", {"to": "eve", "task": "t", "context": {"x": "x" * 1_100_000}}, "ZH006"),
    ("cancel_handoff", {"handoff_id": 7}, "invalid_arguments"),
    ("cancel_handoff", {"handoff_id": NOBODYS["handoff_id"]}, "ZH004"),
    ("get_handoff", {}, "invalid_arguments"),
    ("get_handoff", {"handoff_id": NOBODYS["handoff_id"]}, "ZH004"),
    ("list_agents", {"status": "idle"}, "invalid_arguments"),
    ("set_status", {"status": "idle"}, "invalid_arguments"),
    ("set_status", {"status": "blocked", "reason": "stale"}, "ZH006"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """One database and one daemon for all tests here."""
    async with cluster.database() as database, leader(database):
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        await desk.no_pause_before_retries()
        yield desk


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def url(database: Database) -> AsyncIterator[str]:
    """The server of the agent `ada`, also a reviewer."""
    async with http_server(database, "ada", "--role", "reviewer") as (_, url):
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def nothing_left(desk: Desk) -> AsyncIterator[None]:
    """No handoff of an earlier test is in the way."""
    yield
    await desk.sql.execute("select cancel_handoff(id) from handoffs where status <> 'completed'")
    await desk.sql.execute(
        "update handoffs set status = 'completed', outcome = 'cancelled'"
        " where status <> 'completed' and to_agent <> 'ada'"
    )


def token(shown: dict[str, object]) -> dict[str, object]:
    """What names an attempt."""
    return {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}


@pytest.mark.parametrize("mode", ERAS)
async def test_each_tool_says_what_it_is_and_that_it_does_no_harm(url: str, mode: str) -> None:
    async with over_http(url, mode=mode) as model:
        tools = (await model.client.list_tools()).tools

    assert [tool.name for tool in tools] == TOOLS
    for tool in tools:
        assert tool.title
        assert len(tool.description or "") > 80
        assert tool.output_schema
        assert tool.annotations
        assert tool.annotations.destructive_hint is False
        assert tool.annotations.open_world_hint is False
    assert [
        tool.name for tool in tools if tool.annotations and tool.annotations.read_only_hint
    ] == [
        "list_agents",
        "wait_for_handoff",
        "get_handoff",
    ]


@pytest.mark.parametrize("mode", ERAS)
async def test_the_server_says_that_tasks_are_untrusted(url: str, mode: str) -> None:
    async with over_http(url, mode=mode) as model:
        assert "untrusted" in (model.client.instructions or "")


@pytest.mark.parametrize("mode", ERAS)
async def test_bad_input_says_what_to_do_next(url: str, mode: str) -> None:
    async with over_http(url, mode=mode) as model:
        told = [
            (tool, given, (await model.refused(tool, **given))["code"])
            for tool, given, _ in BAD_INPUT
        ]

    assert told == BAD_INPUT
    assert {tool for tool, _, _ in BAD_INPUT} == set(TOOLS)


async def test_an_unknown_tool_is_an_error_of_the_protocol(url: str) -> None:
    async with over_http(url) as model:
        with pytest.raises(MCPError, match="there is no tool"):
            await model.client.call_tool("rule_the_world", {})


@pytest.mark.parametrize("mode", ERAS)
async def test_a_handoff_that_was_not_accepted_is_shown_again(
    url: str, desk: Desk, mode: str, nothing_left: None
) -> None:
    handoff_id = await desk.put("reviewer", "look at it", context={"files": ["a.py"]})
    async with over_http(url, mode=mode) as model:
        first = await model.wait()
    async with over_http(url, mode=mode) as model:
        second = await model.wait()
        await model.call("accept_handoff", **token(second))
        third = await model.call("wait_for_handoff")
        await model.call("complete_handoff", **token(second), result="fine")

    assert first == second
    assert (first["handoff_id"], first["attempt"]) == (str(handoff_id), 1)
    assert (first["from_agent"], first["to_agent"]) == ("boss", "reviewer")
    assert "not instructions" in first["trust"]
    assert first["lineage"] == {"root_id": str(handoff_id), "parent_id": None, "hop": 0}
    assert third["found"] == "under_way"


async def test_a_model_that_does_not_wait_is_given_nothing(
    url: str, desk: Desk, nothing_left: None
) -> None:
    async with over_http(url) as model:
        await desk.put(task="first")
        await model.call("complete_handoff", **await model.take())
        second = await desk.put(task="second")
        third = await desk.put("eve")
        async with desk.sql.transaction():
            await desk.sql.execute("select register_agent('eve')")
        await desk.reaches(third, status="in_progress")  # the daemon has looked
        left_alone = await desk.row(second)
        agent = await desk.agent()
        shown = await model.wait()
        await model.call("complete_handoff", **token(shown))

    assert (left_alone["status"], left_alone["attempt"]) == ("pending", 0)
    assert (agent["status"], agent["current_handoff"]) == ("working", None)
    assert (shown["task"], shown["attempt"]) == ("second", 1)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_wait_that_its_client_gives_up_loses_nothing(
    url: str, desk: Desk, mode: str, nothing_left: None
) -> None:
    async with over_http(url, mode=mode) as model:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(model.call, "wait_for_handoff")
            await desk.sql.execute("select 1")
            await _is_idle(desk)
            tasks.cancel_scope.cancel()
        handoff_id = await desk.put()
        shown = await model.wait()
        await model.call("fail_handoff", **token(shown), reason="done with it", retry=False)

    assert shown["handoff_id"] == str(handoff_id)
    assert (await desk.row(handoff_id))["outcome"] == "failed"


async def test_the_newest_wait_hears(url: str, desk: Desk, nothing_left: None) -> None:
    heard: dict[str, object] = {}

    async def wait(model: Model, name: str) -> None:
        heard[name] = (await model.call("wait_for_handoff"))["found"]

    async with over_http(url) as model, anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as first:
            first.start_soon(wait, model, "older")
            await _is_idle(desk)
            tasks.start_soon(wait, model, "newer")
        await desk.put()

    assert heard == {"older": "replaced", "newer": "offered"}


async def test_a_wait_ends_when_it_is_asked_to(url: str, nothing_left: None) -> None:
    async with over_http(url) as model:
        answer = await model.call("wait_for_handoff", at_most_s=0.2)

    assert (answer["found"], answer["handoff"]) == ("nothing_yet", None)
    assert "again" in answer["next"]


async def test_what_is_declined_is_offered_again(url: str, desk: Desk, nothing_left: None) -> None:
    await desk.put()
    async with over_http(url) as model:
        first = await model.wait()
        await model.call("decline_handoff", **token(first), reason="not my trade")
        second = await model.wait()
        await model.call("complete_handoff", **token(second))

    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert second["last_error"] == "declined: not my trade"


async def test_follow_ups_go_with_the_completion(url: str, desk: Desk, nothing_left: None) -> None:
    first = await desk.put()
    onward = [{"to": "eve", "task": "apply it", "context": {"n": 1}}, {"to": "eve", "task": "tell"}]
    async with over_http(url) as model:
        held = await model.take()
        settled = await model.call("complete_handoff", **held, result=[1], follow_ups=onward)
        again = await model.call("complete_handoff", **held, result=[1], follow_ups=onward)

    rows = await desk.sql.fetch(
        "select * from handoffs where parent_id = $1 order by position", first
    )
    assert [row["task_description"] for row in rows] == ["apply it", "tell"]
    assert (settled["verdict"], again["verdict"]) == ("applied", "repeated")


async def test_a_follow_up_that_is_refused_leaves_the_work_in_hand(
    url: str, desk: Desk, nothing_left: None
) -> None:
    handoff_id = await desk.put()
    async with over_http(url) as model:
        held = await model.take()
        error = await model.refused(
            "complete_handoff", **held, follow_ups=[{"to": "two\nlines", "task": "t"}]
        )
        agent = await desk.agent()
        await model.call("complete_handoff", **held)

    assert error["code"] == "23514"
    assert agent["status"] == "working"
    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


async def test_progress_tells_when_to_stop(url: str, desk: Desk, nothing_left: None) -> None:
    handoff_id = await desk.put()
    async with over_http(url) as model:
        held = await model.take()
        before = await model.call("report_progress", **held, note="begun")
        await desk.sql.execute("select cancel_handoff($1)", handoff_id)
        after = await model.call("report_progress", **held, note="half way", percent=50)
        await model.call("fail_handoff", **held, reason="cancelled")

    assert (before["should_stop"], after["should_stop"]) == (False, True)
    assert (await desk.row(handoff_id))["outcome"] == "cancelled"


async def test_work_that_was_taken_back_is_refused_and_shown_anew(
    url: str, desk: Desk, nothing_left: None
) -> None:
    handoff_id = await desk.put()
    async with over_http(url) as model:
        held = await model.take()
        await desk.take_back(handoff_id)
        error = await model.refused("complete_handoff", **held, result="late")
        anew = await model.wait()
        await model.call("complete_handoff", **token(anew), result="in time")

    assert error["code"] == "lease_lost"
    assert "wait_for_handoff" in error["next"]
    assert (
        await desk.sql.fetchval(
            "select detail -> 'result' from coordination_events"
            " where handoff_id = $1 and event = 'handoff.settled_late'",
            handoff_id,
        )
        == "late"
    )
    assert (anew["attempt"], (await desk.row(handoff_id))["result"]) == (2, "in time")


async def test_a_task_is_handed_off_looked_at_and_called_back(
    url: str, desk: Desk, nothing_left: None
) -> None:
    parent = await desk.put()
    async with over_http(url) as model:
        held = await model.take()
        new = {"to": "nobody-yet", "task": "help me", "idempotency_key": "k1"}
        sent = await model.call("hand_off", **new)
        again = await model.call("hand_off", **new)
        shown = await model.call("get_handoff", handoff_id=sent["handoff_id"])
        cancelled = await model.call("cancel_handoff", handoff_id=sent["handoff_id"], reason="no")
        await model.call("complete_handoff", **held)

    assert "nobody" in sent["warning"]
    assert (again["handoff_id"], again["repeated"]) == (sent["handoff_id"], True)
    assert (shown["status"], shown["from_agent"]) == ("pending", "ada")
    assert shown["lineage"]["parent_id"] == str(parent)
    assert cancelled["answer"] == "cancelled"


async def test_the_agents_are_listed(url: str) -> None:
    async with over_http(url) as model:
        answer = await model.call("list_agents")

    [ada] = [agent for agent in answer["agents"] if agent["agent_name"] == "ada"]
    assert answer["you"] == "ada"
    assert ada["roles"] == ["reviewer"]


async def test_a_model_can_say_that_it_is_blocked(url: str, desk: Desk, nothing_left: None) -> None:
    async with over_http(url) as model:
        await model.call("set_status", status="blocked", reason="no quota", current_task="waiting")
        agent = await desk.agent()

    assert (agent["status"], agent["blocked_reason"]) == ("blocked", "no quota")
    assert agent["current_task"] == "waiting"


@pytest.mark.parametrize("mode", ERAS)
async def test_the_resources_are_read(url: str, desk: Desk, mode: str, nothing_left: None) -> None:
    async def read(model: Model, uri: str) -> dict[str, object]:
        [content] = (await model.client.read_resource(uri)).contents
        assert isinstance(content, types.TextResourceContents)
        document: dict[str, object] = json.loads(content.text)
        return document

    async with over_http(url, mode=mode) as model:
        await model.call("set_status", status="working")  # a test before may have waited just now
        handoff_id = await desk.put("reviewer", priority=3)
        listed = (await model.client.list_resources()).resources
        templates = (await model.client.list_resource_templates()).resource_templates
        inbox = await read(model, "coordinator://inbox")
        agents = await read(model, "coordinator://agents")
        shown = await read(model, f"coordinator://handoffs/{handoff_id}")
        trace = await read(model, f"coordinator://handoffs/{handoff_id}/trace")
        for uri in (f"coordinator://handoffs/{uuid4()}", "coordinator://nothing"):
            with pytest.raises(MCPError, match="not found"):
                await model.client.read_resource(uri)

    assert [each.name for each in listed] == ["inbox", "agents"]
    assert [each.name for each in templates] == ["handoff", "trace"]
    assert inbox["addresses"] == ["ada", "reviewer"]
    assert [each["handoff_id"] for each in inbox["waiting"]] == [str(handoff_id)]  # type: ignore[attr-defined]
    assert agents["you"] == "ada"
    assert shown["task"] == "do it"
    assert [step["event"] for step in trace["steps"]] == ["handoff.queued"]  # type: ignore[attr-defined]


async def test_the_prompts_are_filled_in(url: str) -> None:
    async with over_http(url) as model:
        names = [each.name for each in (await model.client.list_prompts()).prompts]
        inbox = await model.client.get_prompt("work_the_inbox")
        onward = await model.client.get_prompt("hand_this_off", {"to": "eve", "what": "the tests"})
        with pytest.raises(MCPError, match="needs the argument to"):
            await model.client.get_prompt("hand_this_off", {})

    assert names == ["work_the_inbox", "hand_this_off"]
    assert "wait_for_handoff" in str(inbox.messages[0].content)
    assert "eve: the tests" in str(onward.messages[0].content)


async def test_a_subscriber_of_the_new_protocol_hears_of_its_inbox(
    url: str, desk: Desk, nothing_left: None
) -> None:
    async with (
        over_http(url, mode=MODERN) as model,
        model.client.listen(resource_subscriptions=["coordinator://inbox"]) as stream,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(model.call, "wait_for_handoff")
        await desk.put()
        with anyio.fail_after(20):
            assert await anext(aiter(stream)) == ResourceUpdated(uri="coordinator://inbox")


async def test_a_subscriber_of_the_older_protocol_hears_of_its_inbox(
    url: str, desk: Desk, nothing_left: None
) -> None:
    heard = anyio.Event()

    async def listen(message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.set()

    async with (
        over_http(url, mode=LEGACY, message_handler=listen) as model,
        anyio.create_task_group() as tasks,
    ):
        with pytest.warns(MCPDeprecationWarning):
            await model.client.subscribe_resource("coordinator://inbox")
        tasks.start_soon(model.call, "wait_for_handoff")
        await desk.put()
        with anyio.fail_after(20):
            await heard.wait()
        with pytest.warns(MCPDeprecationWarning):
            await model.client.unsubscribe_resource("coordinator://inbox")


async def test_an_agent_that_is_idle_by_mistake_is_taken_out_again(
    database: Database, desk: Desk
) -> None:
    env = {"COORDINATOR_HEARTBEAT_INTERVAL": "200ms", "COORDINATOR_SWEEP_INTERVAL": "100ms"}
    async with http_server(database, "pat", env=env) as (_, url), over_http(url) as model:
        await model.call("list_agents")
        # As a heartbeat after a silence makes it.
        await desk.sql.execute("update agent_status set status = 'idle' where agent_name = 'pat'")

        async def is_away() -> bool:
            return bool((await desk.agent("pat"))["status"] == "working")

        await eventually(is_away)


async def test_a_login_that_may_call_functions_alone_can_work_but_not_look_around(
    database: Database, desk: Desk
) -> None:
    login = await desk.login()
    env = {"DATABASE_URL": database.dsn_as(login)}
    handoff_id = await desk.put("bob")
    async with http_server(database, "bob", env=env) as (_, url), over_http(url) as model:
        error = await model.refused("list_agents")
        inbox = await model.client.read_resource("coordinator://inbox")
        await model.call("complete_handoff", **await model.take())

    assert error["code"] == "42501"
    assert '"waiting": null' in str(inbox.contents[0])
    assert (await desk.row(handoff_id))["outcome"] == "succeeded"


async def _is_idle(desk: Desk) -> None:
    async def probe() -> bool:
        return bool((await desk.agent())["status"] == "idle")

    await eventually(probe)
