"""What `coordinator agent install` has written, in the hands of those that read it.

Claude Code, Codex and Gemini CLI say for themselves what they found, and that it connects. For all
six the entry is started as it stands in the file, by the SDK's client.
"""

import json
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from coordinator.cli.install import CLIENT_NAMES
from tests.support.clients import client_environment, installed
from tests.support.installing import Place
from tests.support.postgres import Connection, Database
from tests.support.processes import SCRIPT, running
from tests.support.waiting import eventually

SCOPES = ("project", "user")
TOOLS = {"wait_for_handoff", "complete_handoff", "hand_off"}
LONGEST_LINE = 16 * 1024 * 1024

Ask = Callable[[str, dict[str, object]], Awaitable[dict[str, Any]]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.in_(tmp_path)


@pytest.mark.parametrize("client", CLIENT_NAMES)
async def test_the_command_in_the_file_is_an_agent(
    database: Database, connection: Connection, place: Place, client: str
) -> None:
    place.at_once(client, "--agent", "a b", "--role", "r", "--dsn-file", dsn_file(place, database))
    server = place.server(client, "project")

    parameters = StdioServerParameters(command=server["command"], args=server["args"])
    async with Client(stdio_client(parameters, errlog=sys.stderr)) as model:
        agents = await model.call_tool("list_agents", {})

    assert not agents.is_error
    assert await agents_in(connection) == [("a b", ["r"])]


@pytest.mark.clients
@pytest.mark.parametrize("scope", SCOPES)
async def test_claude_connects(database: Database, place: Place, scope: str) -> None:
    place.at_once("claude", "--agent", "ada", "--scope", scope)
    if scope == "project":
        approve_in_claude(place)

    said = await answer_of(place, "claude", "mcp", "list", DATABASE_URL=database.dsn)

    assert "coordinator: " in said
    assert "Connected" in said


@pytest.mark.clients
async def test_claude_asks_before_it_starts_a_projects_server(place: Place) -> None:
    place.at_once("claude", "--agent", "ada")

    assert "Pending approval" in await answer_of(place, "claude", "mcp", "list")


@pytest.mark.clients
@pytest.mark.parametrize("scope", SCOPES)
async def test_gemini_connects(database: Database, place: Place, scope: str) -> None:
    place.at_once("gemini", "--agent", "ada", "--scope", scope)

    said = await answer_of(
        place,
        *("gemini", "mcp", "list"),
        DATABASE_URL=database.dsn,
        GEMINI_CLI_TRUST_WORKSPACE="true",
    )

    assert "coordinator: " in said
    assert "Connected" in said


@pytest.mark.clients
@pytest.mark.parametrize("scope", SCOPES)
async def test_codex_lists_the_tools_and_the_hooks(
    database: Database, connection: Connection, place: Place, scope: str
) -> None:
    trust_in_codex(place)
    place.at_once("codex", "--agent", "ada", "--scope", scope)

    async with app_server(place, DATABASE_URL=database.dsn) as ask:
        [hooks] = (await ask("hooks/list", {"cwds": [str(place.project)]}))["data"]
        thread = (await ask("thread/start", {"cwd": str(place.project)}))["thread"]
        servers = await ask("mcpServerStatus/list", {"threadId": thread["id"]})
        agents = await eventually(lambda: agents_in(connection))

    [server] = [each for each in servers["data"] if each["name"] == "coordinator"]
    assert set(server["tools"]) >= TOOLS
    assert agents == [("ada", [])]
    assert (hooks["warnings"], hooks["errors"]) == ([], [])
    lines = place.hook_lines("codex", scope)
    listed = {
        hook["eventName"]: (hook["command"], hook["matcher"], hook["source"])
        for hook in hooks["hooks"]
    }
    assert listed == {
        "sessionStart": (lines["SessionStart"], "startup|resume|clear", scope),
        "userPromptSubmit": (lines["UserPromptSubmit"], None, scope),
        "stop": (lines["Stop"], None, scope),
        "sessionEnd": (lines["SessionEnd"], None, scope),
    }
    assert {hook["trustStatus"] for hook in hooks["hooks"]} == {"untrusted"}


NO_MODEL = "http://127.0.0.1:9"
"""Nobody listens there: a turn begins, and gets no further."""


@pytest.mark.clients
async def test_claude_runs_the_hooks(database: Database, place: Place) -> None:
    place.at_once("claude", "--agent", "a b")
    approve_in_claude(place)

    calls = await calls_of(
        place,
        *("claude", "-p", "hi"),
        until="busy",
        DATABASE_URL=database.dsn,
        ANTHROPIC_API_KEY="x",
        ANTHROPIC_BASE_URL=NO_MODEL,
    )

    assert "mcp --agent a b" in calls
    assert "agent hook claude start --agent a b" in calls
    assert "agent hook claude busy --agent a b" in calls


@pytest.mark.clients
async def test_codex_runs_the_hooks_once_they_are_trusted(database: Database, place: Place) -> None:
    trust_in_codex(place, f"[model_providers.none]\nname = 'none'\nbase_url = '{NO_MODEL}/v1'\n")
    place.at_once("codex", "--agent", "a b")
    command = ("codex", "exec", "--skip-git-repo-check", "-c", "model_provider=none")

    calls = await calls_of(
        place,
        *(*command, "--dangerously-bypass-hook-trust", "hi"),
        until="busy",
        DATABASE_URL=database.dsn,
    )

    assert "mcp --agent a b" in calls
    assert "agent hook codex start --agent a b" in calls
    assert "agent hook codex busy --agent a b" in calls


@pytest.mark.clients
async def test_gemini_runs_the_hooks(database: Database, place: Place) -> None:
    place.at_once("gemini", "--agent", "a b")
    (place.home / ".gemini").mkdir()
    chosen = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    (place.home / ".gemini" / "settings.json").write_text(json.dumps(chosen))

    calls = await calls_of(
        place,
        *("gemini", "-p", "hi"),
        until="busy",
        DATABASE_URL=database.dsn,
        GEMINI_API_KEY="x",
        GOOGLE_GEMINI_BASE_URL=NO_MODEL,
        GEMINI_CLI_TRUST_WORKSPACE="true",
    )

    assert "mcp --agent a b" in calls
    assert "agent hook gemini busy --agent a b" in calls


async def calls_of(
    place: Place, client: str, *arguments: str, until: str, **environ: str
) -> list[str]:
    """Run a client until it has called a hook; return all the calls of our program.

    A script takes the program's place in the files: it writes each call down, and passes it on.
    """
    log = place.home / "calls"
    script = place.home / "it's seen" / "coordinator"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$*" >> "{log}"\nexec "{SCRIPT}" "$@"\n')
    script.chmod(0o755)
    for file in place.files(client, "project"):
        text = file.read_text()
        quoted = json.dumps(shlex.quote(str(script)))[1:-1]
        text = text.replace(f"{SCRIPT} agent", f"{quoted} agent")
        file.write_text(text.replace(f'"{SCRIPT}"', f'"{script}"'))

    async def called() -> list[str]:
        calls = log.read_text().splitlines() if log.exists() else []
        return calls if any(f" {until} " in call for call in calls) else []

    env = client_environment(place.home, **environ)
    async with running([installed(client), *arguments], env=env, cwd=place.project) as process:
        try:
            return await eventually(called, within=timedelta(seconds=60))
        except AssertionError as error:
            error.add_note(str(process))
            raise


async def answer_of(place: Place, client: str, *arguments: str, **environ: str) -> str:
    """Run a client in the project to its end; return all it said."""
    env = client_environment(place.home, **environ)
    command = [installed(client), *arguments]
    async with running(command, env=env, cwd=place.project) as process:
        await process.wait()
        return process.stdout + process.stderr


@asynccontextmanager
async def app_server(place: Place, **environ: str) -> AsyncIterator[Ask]:
    """Codex as its own IDE extension starts it; yields how to ask it something."""
    async with await anyio.open_process(
        [installed("codex"), "app-server"],
        env=client_environment(place.home, **environ),
        cwd=place.project,
        stderr=None,
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, lines = process.stdin, BufferedByteReceiveStream(process.stdout)

        async def ask(method: str, params: dict[str, object]) -> dict[str, Any]:
            question = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
            await stdin.send(json.dumps(question).encode() + b"\n")
            with anyio.fail_after(30):
                while True:
                    line = json.loads(await lines.receive_until(b"\n", LONGEST_LINE))
                    if line.get("id") == method:
                        assert "result" in line, line
                        result: dict[str, Any] = line["result"]
                        return result

        await ask("initialize", {"clientInfo": {"name": "test", "version": "1"}})
        yield ask
        await stdin.aclose()
        await process.wait()


def approve_in_claude(place: Place) -> None:
    """Trust the project, and approve its server, as its user would."""
    trusted = {"projects": {str(place.project): {"hasTrustDialogAccepted": True}}}
    (place.home / ".claude.json").write_text(json.dumps(trusted))
    approved = place.project / ".claude" / "settings.local.json"
    approved.write_text(json.dumps({"enabledMcpjsonServers": ["coordinator"]}))


def trust_in_codex(place: Place, more: str = "") -> None:
    """Trust the project, as its user would, and configure `more`."""
    config = place.home / ".codex" / "config.toml"
    config.parent.mkdir()
    trusted = f"[projects.{json.dumps(str(place.project))}]\ntrust_level = 'trusted'\n"
    config.write_text(trusted + more)


def dsn_file(place: Place, database: Database) -> str:
    file = place.home / "dsn"
    file.write_text(database.dsn)
    file.chmod(0o600)
    return str(file)


async def agents_in(connection: Connection) -> list[tuple[str, list[str]]]:
    """Every agent with its roles."""
    rows = await connection.fetch("select agent_name, roles from agent_status order by 1")
    return [(row["agent_name"], row["roles"]) for row in rows]
