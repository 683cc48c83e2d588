"""The clients that models work in, set up as docs/agents.md says: they connect, and see our tools.

No model takes part, and nobody logs in.
"""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import pytest_asyncio

from coordinator.agents.mcp.tools import TOOLS
from tests.support.agents_page import block
from tests.support.clients import client_ended, client_environment, installed
from tests.support.postgres import Cluster, Database

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.clients]

_ANSWER_WITHIN_S = 90


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    async with cluster.database() as database:
        yield database


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder to work in, in a home that no client has seen."""
    project = tmp_path / "project"
    project.mkdir()
    return project


async def test_claude_connects_once_its_user_has_approved_the_project(
    database: Database, tmp_path: Path, project: Path
) -> None:
    servers = _on(database, json.loads(block("Claude Code", "json", about="mcpServers")), tmp_path)
    [(name, server)] = servers["mcpServers"].items()
    claude = installed("claude")
    env = {"DATABASE_URL": database.dsn}
    (project / ".mcp.json").write_text(json.dumps(servers))
    before = await client_ended(claude, "mcp", "list", home=tmp_path, cwd=project, env=env)
    # To approve takes a terminal; what a user adds without one counts as approved.
    added = ("mcp", "add-json", name, json.dumps(server))
    await client_ended(claude, *added, home=tmp_path, cwd=project, env=env)
    after = await client_ended(claude, "mcp", "list", home=tmp_path, cwd=project, env=env)

    assert "Pending approval" in before.out
    [line] = [line for line in after.out.splitlines() if line.startswith(f"{name}:")]
    assert line.endswith("✔ Connected"), after  # and gone, before it need have registered


async def test_gemini_connects_in_a_folder_that_its_user_trusts(
    database: Database, tmp_path: Path, project: Path
) -> None:
    servers = _on(database, json.loads(block("Gemini CLI", "json", about="mcpServers")), tmp_path)
    [name] = servers["mcpServers"]
    gemini = installed("gemini")
    env = {"DATABASE_URL": database.dsn}
    trusting = {**env, "GEMINI_CLI_TRUST_WORKSPACE": "true"}
    (project / ".gemini").mkdir()
    (project / ".gemini" / "settings.json").write_text(json.dumps(servers))
    untrusted = await client_ended(gemini, "mcp", "list", home=tmp_path, cwd=project, env=env)
    trusted = await client_ended(gemini, "mcp", "list", home=tmp_path, cwd=project, env=trusting)

    # It lists on stderr.
    assert f"○ {name}:" in untrusted.err
    [line] = [line for line in trusted.err.splitlines() if f"✓ {name}:" in line]
    assert line.endswith("Connected"), trusted


async def test_codex_lists_our_tools_and_no_others(
    database: Database, tmp_path: Path, project: Path
) -> None:
    lines = block("Codex CLI", "toml", about="[mcp_servers.")
    home = tmp_path / ".codex"
    home.mkdir()
    (home / "config.toml").write_text(lines)

    async with await anyio.open_process(
        [installed("codex"), "app-server"],
        env=client_environment(tmp_path, DATABASE_URL=database.dsn),
        cwd=project,
        stderr=subprocess.DEVNULL,
    ) as codex:
        me = {"clientInfo": {"name": "test", "version": "1"}}
        with anyio.fail_after(_ANSWER_WITHIN_S):
            answers = _answers(codex)
            await _say(codex, id=1, method="initialize", params=me)
            await anext(answers)
            await _say(codex, method="initialized", params={})
            await _say(codex, id=2, method="mcpServerStatus/list", params={})
            listed = await anext(answers)
        codex.terminate()

    [server] = listed["result"]["data"]
    assert f"[mcp_servers.{server['name']}]" in lines
    assert set(server["tools"]) == set(TOOLS)


def _on(database: Database, servers: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The configuration with this database's file in place of the reader's."""
    for server in servers["mcpServers"].values():
        arguments = server["args"]
        if "--dsn-file" in arguments:
            file = directory / "dsn"
            file.write_text(database.dsn)
            file.chmod(0o600)
            arguments[arguments.index("--dsn-file") + 1] = str(file)
    return servers


async def _say(process: anyio.abc.Process, **message: object) -> None:
    assert process.stdin
    await process.stdin.send(json.dumps(message).encode() + b"\n")


async def _answers(process: anyio.abc.Process) -> AsyncIterator[Any]:
    """What it answers, without what it tells unasked."""
    assert process.stdout
    rest = b""
    async for chunk in process.stdout:
        *whole, rest = (rest + chunk).split(b"\n")
        for message in map(json.loads, whole):
            if "id" in message and "method" not in message:
                yield message
