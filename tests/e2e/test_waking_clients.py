"""Idle sessions of the real clients are woken: their programs and hooks, and a scripted model.

What the model does is written down here. That the client starts our hooks, and begins a turn with
what they say, is the client's own doing.
"""

import re
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import anyio
import asyncpg
import pytest
from starlette.exceptions import HTTPException

from tests.integration.daemon.daemons import QUICK_SILENCE, leader
from tests.support.clients import Claude, Client, Codex, Gemini
from tests.support.hooks import hooks_of
from tests.support.postgres import Database
from tests.support.processes import descendants
from tests.support.scripted_model import Move, Say, Turn, Use, scripted_model
from tests.support.sdk import Desk, desk_at
from tests.support.terminal import Terminal
from tests.support.waiting import eventually
from tests.support.waking import hooked_session, hooked_terminal

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

PATIENCE = timedelta(seconds=90)
TOLD = re.compile(r"handoff_id ([0-9a-f-]{36}) and attempt (\d+)")


async def obedient(turn: Turn) -> Move:
    """Do what the hooks have said, one handoff after the other; know nothing but that."""
    told = list(dict.fromkeys(TOLD.findall(turn.heard)))
    accepted = sum(done.tool == "accept_handoff" for done in turn.done)
    completed = sum(done.tool == "complete_handoff" for done in turn.done)
    if not turn.tools or completed == len(told):
        return Say("There is nothing to do.")
    handoff_id, attempt = told[completed]
    token = {"handoff_id": handoff_id, "attempt": int(attempt)}
    if accepted == completed:
        return Use("accept_handoff", token)
    return Use("complete_handoff", {**token, "result": "done"})


@pytest.mark.parametrize("client", [Claude(), Codex()], ids=["claude", "codex"])
async def test_an_idle_session_in_a_terminal_is_woken_again_and_again(
    database: Database, client: Client
) -> None:
    agent = f"woken-{client.name}"
    async with (
        leader(database),
        desk_at(database) as desk,
        scripted_model({agent: obedient}) as model,
        hooked_terminal(client, agent, database, model_url=model.url(agent)) as terminal,
    ):
        if client.name == "codex":  # its session begins with its first prompt
            await drawn(terminal, "Ask Codex")
            terminal.type("hello")
            await drawn(terminal, "hello")
            terminal.type("\r")
        for task in ("first", "second", "third"):
            await idle(desk, agent)
            if client.name == "codex":  # else its hook would be there to tell it
                await eventually(lambda: left_behind(agent, terminal), within=PATIENCE)
            handoff_id = await desk.put(agent, task)
            row = await succeeded(desk, handoff_id)

            assert row["attempt"] == 1


@pytest.mark.parametrize("client", [Claude(), Codex()], ids=["claude", "codex"])
async def test_a_session_at_its_users_work_is_given_nothing_until_that_is_done(
    database: Database, client: Client
) -> None:
    agent = f"busy-{client.name}"
    asked, answered = anyio.Event(), anyio.Event()

    async def deliberate(turn: Turn) -> Move:
        if "ponder" in turn.heard and turn.tools and not answered.is_set():
            asked.set()
            await answered.wait()
        return await obedient(turn)

    async with (
        leader(database),
        desk_at(database) as desk,
        scripted_model({agent: deliberate}) as model,
        hooked_terminal(client, agent, database, model_url=model.url(agent)) as terminal,
    ):
        if client.name == "codex":
            await drawn(terminal, "Ask Codex")
        else:
            await idle(desk, agent)
        terminal.type("ponder")
        await drawn(terminal, "ponder")
        terminal.type("\r")
        await asked.wait()
        status = (await desk.agent(agent))["status"]
        handoff_id = await desk.put(agent)
        answered.set()
        row = await succeeded(desk, handoff_id)

    assert (status, row["attempt"]) == ("working", 1)


@pytest.mark.parametrize("client", [Claude(), Codex(), Gemini()], ids=["claude", "codex", "gemini"])
async def test_a_session_without_a_terminal_goes_on_while_there_is_work(
    database: Database, client: Client
) -> None:
    async with (
        leader(database),
        desk_at(database) as desk,
        scripted_model({"ada": obedient}) as model,
    ):
        handoffs = [await desk.put("ada", task) for task in ("first", "second")]
        async with hooked_session(client, "ada", database, model_url=model.url("ada")) as process:
            code = await process.wait(within=PATIENCE)
        rows = [await desk.row(each) for each in handoffs]

    assert code == 0
    assert [(row["outcome"], row["attempt"]) for row in rows] == [("succeeded", 1)] * 2


async def test_a_client_within_a_session_leaves_it_its_server(
    database: Database, tmp_path: Path
) -> None:
    done = anyio.Path(tmp_path / "done")
    async with (
        leader(database),
        desk_at(database) as desk,
        scripted_model({"outer": obedient}) as model,
        hooked_terminal(Claude(), "outer", database, model_url=model.url("outer")) as terminal,
    ):
        await idle(desk, "outer")
        terminal.type("!")
        terminal.type(f"claude -p --strict-mcp-config 'a nested prompt'; touch {done}")
        await drawn(terminal, "touch")
        terminal.type("\r")
        await eventually(done.exists, within=PATIENCE)
        nested = [turn for turn in model.turns["outer"] if "a nested prompt" in turn.heard]
        handoff_id = await desk.put("outer")
        row = await succeeded(desk, handoff_id)

    assert nested
    assert row["attempt"] == 1


async def test_a_woken_session_whose_model_is_away_costs_one_attempt(database: Database) -> None:
    async def away(turn: Turn) -> Move:
        raise HTTPException(400, "the model is away")

    often = {f"COORDINATOR_{name.upper()}": value for name, value in QUICK_SILENCE.items()}
    async with (
        leader(database, QUICK_SILENCE, accept_timeout="3s"),
        desk_at(database) as desk,
        scripted_model({"ada": away}) as model,
        hooked_terminal(Claude(), "ada", database, model_url=model.url("ada"), **often),
    ):
        await desk.no_pause_before_retries()
        await idle(desk, "ada")
        handoff_id = await desk.put("ada")
        await unresponsive(desk)
        row = await desk.row(handoff_id)

    assert (row["status"], row["attempt"]) == ("pending", 1)
    # It asked its model in several ways, and did not take that for the end of a turn.
    assert {len(TOLD.findall(turn.heard)) for turn in model.turns["ada"]} == {1}


async def idle(desk: Desk, agent: str) -> None:
    """Wait until a hook waits for the session's agent."""
    query = "select status = 'idle' from agent_status where agent_name = $1"
    await eventually(lambda: desk.sql.fetchval(query, agent), within=PATIENCE)


async def left_behind(agent: str, terminal: Terminal) -> bool:
    """Whether all hooks of an agent wait apart from its client."""
    hooks = set(hooks_of(agent))
    return bool(hooks) and hooks.isdisjoint(descendants(terminal.process.pid))


async def unresponsive(desk: Desk) -> None:
    """Wait until the agent is blocked for not taking up its work."""
    query = "select blocked_reason = 'unresponsive' from agent_status where agent_name = 'ada'"
    await eventually(lambda: desk.sql.fetchval(query), within=PATIENCE)


async def succeeded(desk: Desk, handoff_id: UUID) -> asyncpg.Record:
    """Wait until a handoff has succeeded; return its row."""

    async def probe() -> asyncpg.Record | None:
        row = await desk.row(handoff_id)
        return row if row["outcome"] == "succeeded" else None

    row = await eventually(probe, within=PATIENCE)
    assert row is not None
    return row


async def drawn(terminal: Terminal, text: str) -> None:
    """Wait until a program has drawn this."""

    async def probe() -> bool:
        return text in terminal.text

    await eventually(probe, within=PATIENCE)
