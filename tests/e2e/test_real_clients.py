"""Claude Code, Codex and Gemini as agents: the programs from npm, and models that follow a script.

What a model does is written down here. That a client shows it our tools, lets it call them, and
hands it their answers is the client's own doing.
"""

import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from coordinator.agents import Agent, HeldHandoff
from tests.integration.daemon.daemons import leader
from tests.support.clients import Claude, Client, Codex, Gemini, installed, kill_all_of, session
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator
from tests.support.runner import READY, says
from tests.support.scripted_model import (
    Move,
    NoAnswer,
    Say,
    Script,
    ScriptedModel,
    Turn,
    Use,
    scripted_model,
)
from tests.support.sdk import Desk, desk_at

pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(300),
    # The first handoff may be there before its agent.
    pytest.mark.filterwarnings("ignore::coordinator.agents.UnknownAddress"),
]

CHAIN: Mapping[str, Client] = {"claude-1": Claude(), "codex-1": Codex(), "gemini-1": Gemini()}
ONWARD = {"claude-1": "codex-1", "codex-1": "gemini-1", "gemini-1": "boss"}
PATIENCE = timedelta(seconds=200)
COMPLETED = "completed"

Kill = Callable[[RunningProcess], None]


def kill_the_client(process: RunningProcess) -> None:
    """Kill the client alone: the server that it started is left to notice."""
    process.kill()


def work_the_inbox(agent: str) -> Script:
    """Take one handoff, hand a follow-up to the next agent with its completion, and end."""

    async def script(turn: Turn) -> Move:
        match turn.last:
            case None:
                return Use("wait_for_handoff")
            case done if done.tool == "wait_for_handoff":
                shown = done.answer["handoff"]
                return Use("accept_handoff", token(shown)) if shown else Use("wait_for_handoff")
            case done if done.tool == "accept_handoff":
                shown = done.answer["handoff"]
                result = {"by": agent, "task": shown["task"]}
                onward = {"to": ONWARD[agent], "task": f"go on after {agent}"}
                settling = {**token(shown), "result": result, "follow_ups": [onward]}
                return Use("complete_handoff", settling)
            case _:
                return Say("It is done.")

    return script


def shows_a_handoff(answer: Any) -> bool:
    """Whether this is our server's word, and no client's about it."""
    return isinstance(answer, dict) and bool(answer.get("handoff"))


def token(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}


@pytest.mark.parametrize(
    ("fatal", "kill"),
    [
        pytest.param([], kill_the_client, id="without-a-kill"),
        pytest.param(["wait_for_handoff", "accept_handoff"], kill_the_client, id="clients-killed"),
        pytest.param(["wait_for_handoff", "accept_handoff"], kill_all_of, id="servers-killed-too"),
    ],
)
async def test_a_handoff_goes_from_claude_to_codex_to_gemini_and_back(
    database: Database, fatal: Sequence[str], kill: Kill
) -> None:
    """Each client is killed in two of its sessions: before it accepts, and after."""
    async with (
        leader(database),
        desk_at(database) as desk,
        scripted_model() as model,
        Agent.connect(database.dsn, "boss") as boss,
        anyio.create_task_group() as tasks,
    ):
        for agent, client in CHAIN.items():
            tasks.start_soon(work, client, agent, database, model, fatal, kill)
        sent = await boss.hand_off("claude-1", "begin")
        first = await sent.result(within=PATIENCE)
        back = await next_handoff(boss)

        assert first.result == {"by": "claude-1", "task": "begin"}
        assert back.from_agent == "gemini-1"
        lives = len(fatal) + 1
        assert await accepted_in(desk, sent.id) == [
            *((agent, attempt) for agent in CHAIN for attempt in range(1, lives + 1)[-2:]),
            ("boss", 1),
        ]


@pytest.mark.parametrize("client", CHAIN.values(), ids=lambda client: client.name)
async def test_the_runner_starts_a_client_with_our_tools_and_the_client_settles_by_them(
    database: Database, tmp_path: Path, client: Client
) -> None:
    async def settle(turn: Turn) -> Move:
        if turn.last is None:
            return Use("wait_for_handoff")
        if turn.last.tool == "wait_for_handoff":
            shown = turn.last.answer["handoff"]
            return Use("complete_handoff", {**token(shown), "result": {"said": shown["task"]}})
        return Say("It is done.")

    async with wrapped(client, "runner-1", database, tmp_path, settle) as (desk, model):
        rows = [
            await desk.reaches(await desk.put("runner-1", task), within=PATIENCE, status=COMPLETED)
            for task in ("one", "two")
        ]

    assert [(row["outcome"], row["attempt"]) for row in rows] == [("succeeded", 1)] * 2
    assert [row["result"] for row in rows] == [{"said": "one"}, {"said": "two"}]
    turns = model.turns["runner-1"]
    assert all("hand_off" in turn.tools for turn in turns)
    assert "----- task" in turns[0].heard


@pytest.mark.parametrize("client", CHAIN.values(), ids=lambda client: client.name)
async def test_what_a_client_says_last_is_the_result_where_no_tool_has_settled(
    database: Database, tmp_path: Path, client: Client
) -> None:
    async def talk(_: Turn) -> Move:
        return Say("I have looked at it.")

    async with wrapped(client, "runner-1", database, tmp_path, talk) as (desk, _):
        row = await desk.reaches(await desk.put("runner-1"), within=PATIENCE, status=COMPLETED)

    assert (row["outcome"], row["result"]["output"]) == ("succeeded", "I have looked at it.")


@pytest.mark.parametrize("client", CHAIN.values(), ids=lambda client: client.name)
async def test_a_client_whose_model_is_away_fails_its_handoff(
    database: Database, tmp_path: Path, client: Client
) -> None:
    async def refuse(_: Turn) -> Move:
        raise NoAnswer

    async with wrapped(client, "runner-1", database, tmp_path, refuse) as (desk, _):
        row = await desk.reaches(await desk.put("runner-1"), within=PATIENCE, status=COMPLETED)

    assert (row["outcome"], row["result"]) == ("failed", None)
    assert "the script has no answer" in row["last_error"]


@pytest.mark.parametrize("client", CHAIN.values(), ids=lambda client: client.name)
async def test_a_cancelled_handoff_ends_its_client_and_all_that_it_has_started(
    database: Database, tmp_path: Path, client: Client
) -> None:
    asked = anyio.Event()

    async def think_for_ever(_: Turn) -> Move:
        asked.set()
        await anyio.sleep_forever()
        raise NoAnswer

    async with wrapped(client, "runner-1", database, tmp_path, think_for_ever) as (desk, _):
        handoff_id = await desk.put("runner-1")
        await asked.wait()
        about_it = f"COORDINATOR_HANDOFF_ID={handoff_id}"
        assert len(processes_with(about_it)) >= 2  # the client, and our server at least
        await desk.sql.execute("select cancel_handoff($1, 'never mind')", handoff_id)
        row = await desk.reaches(handoff_id, within=PATIENCE, status=COMPLETED)

        assert row["outcome"] == "cancelled"
        assert processes_with(about_it) == []


@pytest.mark.parametrize("client", CHAIN.values(), ids=lambda client: client.name)
async def test_a_client_goes_on_in_the_thread_that_it_had_for_the_chain(
    database: Database, tmp_path: Path, client: Client
) -> None:
    async def remember(turn: Turn) -> Move:
        return Say(f"{turn.heard.count('----- end of task')} tasks so far")

    async with wrapped(client, "runner-1", database, tmp_path, remember, "--resume") as (desk, _):
        first = await desk.reaches(await desk.put("runner-1"), within=PATIENCE, status=COMPLETED)
        follow_up = await desk.put("runner-1", parent_id=first["id"])
        second = await desk.reaches(follow_up, within=PATIENCE, status=COMPLETED)
        other = await desk.reaches(await desk.put("runner-1"), within=PATIENCE, status=COMPLETED)

    said = [row["result"] and row["result"]["output"] for row in (first, second, other)]
    assert said == ["1 tasks so far", "2 tasks so far", "1 tasks so far"]


def processes_with(variable: str) -> list[int]:
    """The processes that have this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


@asynccontextmanager
async def wrapped(
    client: Client, agent: str, database: Database, folder: Path, script: Script, *options: str
) -> AsyncIterator[tuple[Desk, ScriptedModel]]:
    """Run the runner around a client by its ready profile."""
    installed(client.name)
    home, here = folder / "home", folder / "here"
    home.mkdir()
    here.mkdir()
    await anyio.run_process(["git", "init", "--quiet", str(here)])  # Codex wants a repository
    arguments = ("agent", "run", "--name", agent, "--profile", client.name, *options)
    async with leader(database), desk_at(database) as desk, scripted_model() as model:
        model.scripts[agent] = script
        environment = {**client.environment(home, model.url(agent)), "DATABASE_URL": database.dsn}
        # As the client's user may have set it up for sessions of another agent.
        client.command(home, ["coordinator", "mcp", "--agent", "somebody-else"])
        async with coordinator(*arguments, env=environment, cwd=here) as process:
            await says(process, READY)
            yield desk, model
            process.kill(signal.SIGTERM)
            assert await process.wait() == 0, str(process)


@pytest.mark.parametrize("client", CHAIN.values(), ids=lambda client: client.name)
async def test_a_client_that_gives_a_wait_up_loses_no_handoff(
    database: Database, client: Client
) -> None:
    """Each has a limit for a tool, here shorter than our server waits."""
    gave_up = anyio.Event()

    async def never_mind(turn: Turn) -> Move:
        last = turn.last
        if last and last.tool == "wait_for_handoff" and not shows_a_handoff(last.answer):
            gave_up.set()
            return Use("wait_for_handoff")
        return await work_the_inbox("gemini-1")(turn)

    async with leader(database), desk_at(database) as desk, scripted_model() as model:
        model.scripts["ada"] = never_mind
        async with session(
            client, "ada", database, model_url=model.url("ada"), limit_s=3
        ) as process:
            await gave_up.wait()
            row = await desk.reaches(await desk.put(), within=PATIENCE, status=COMPLETED)
            assert await process.wait(within=PATIENCE) == 0, str(process)

    assert (row["outcome"], row["attempt"]) == ("succeeded", 1)


async def work(
    client: Client,
    agent: str,
    database: Database,
    model: ScriptedModel,
    fatal: Sequence[str],
    kill: Kill,
) -> None:
    """Run a client's sessions one after the other; each but the last is killed in its midst."""
    for place in fatal:
        doomed = anyio.Event()
        model.scripts[agent] = ending_after(place, work_the_inbox(agent), doomed)
        async with session(client, agent, database, model_url=model.url(agent)) as process:
            await doomed.wait()
            kill(process)
            await process.wait()
    model.scripts[agent] = work_the_inbox(agent)
    async with session(client, agent, database, model_url=model.url(agent)) as process:
        code = await process.wait(within=PATIENCE)
        assert code == 0, str(process)


def ending_after(place: str, script: Script, doomed: anyio.Event) -> Script:
    """Follow the script until this tool has answered with a handoff; then answer no more."""

    async def until_then(turn: Turn) -> Move:
        if turn.last and turn.last.tool == place and shows_a_handoff(turn.last.answer):
            doomed.set()
            await anyio.sleep_forever()
        return await script(turn)

    return until_then


async def next_handoff(agent: Agent) -> HeldHandoff:
    """Take up the next handoff, and complete it."""
    async for handoff in agent.handoffs():
        async with handoff:
            return handoff
    raise AssertionError("no handoff came")


async def accepted_in(desk: Desk, root_id: UUID) -> list[tuple[str, int]]:
    """Who has accepted which attempt at a handoff of this lineage; it must be unbroken."""
    rows = await desk.sql.fetch(
        "select id, parent_id, hop from handoffs where root_id = $1 order by hop", root_id
    )
    parents = [None, *(row["id"] for row in rows)]
    for hop, row in enumerate(rows):
        assert (row["parent_id"], row["hop"]) == (parents[hop], hop)
    events = await desk.sql.fetch(
        "select agent, attempt from coordination_events"
        " where event = 'handoff.accepted' and handoff_id = any($1) order by sequence",
        [row["id"] for row in rows],
    )
    return [(event["agent"], event["attempt"]) for event in events]
