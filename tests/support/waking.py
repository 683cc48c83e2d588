"""The real clients with our hooks, as docs/agents.md tells how to configure them."""

import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.clients import Client, installed, kill_all_of
from tests.support.hooks import at, meeting_place
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running
from tests.support.terminal import Terminal, in_a_terminal

Hooks = Mapping[str, object]


def configured(client: str, agent: str) -> Hooks:
    """The hooks of a client's configuration."""

    def one(event: str, **more: object) -> object:
        command = f"coordinator agent hook {client} {event} --agent {agent}"
        return [{"hooks": [{"type": "command", "command": command, **more}]}]

    match client:
        case "claude":
            waits = {"asyncRewake": True, "timeout": 86400}
            return {
                "SessionStart": one("start", **waits),
                "Stop": one("rest", **waits),
                "UserPromptSubmit": one("busy"),
                "SessionEnd": one("end"),
            }
        case "codex":
            return {
                "SessionStart": one("start", timeout=10),
                "Stop": one("rest", timeout=10),
                "UserPromptSubmit": one("busy", timeout=10),
                "SessionEnd": one("end", timeout=3),
            }
        case _:
            return {
                "AfterAgent": one("rest", timeout=10_000),
                "BeforeAgent": one("busy", timeout=10_000),
                "SessionEnd": one("end", timeout=10_000),
            }


@asynccontextmanager
async def hooked_session(
    client: Client, agent: str, database: Database, *, model_url: str
) -> AsyncIterator[RunningProcess]:
    """Have a client with hooks work on one prompt, without a terminal."""
    async with _home(client, agent, database, model_url=model_url) as (home, command, environment):
        trusting = {"codex": ("--dangerously-bypass-hook-trust",)}.get(client.name, ())
        first, *rest = command[1:]
        words = [installed(client.name), first, *trusting, *rest, "Say hello."]
        async with running(words, env=environment, cwd=home) as process:
            try:
                yield process
            finally:
                kill_all_of(process)


@asynccontextmanager
async def hooked_terminal(
    client: Client, agent: str, database: Database, *, model_url: str, **more: str
) -> AsyncIterator[Terminal]:
    """Have a client with hooks sit in a terminal, as its user would have it."""
    async with _home(client, agent, database, model_url=model_url) as (home, _, environment):
        folder = home / "project"
        folder.mkdir()
        words = [installed(client.name), *_before_a_person(client.name, home, folder)]
        async with in_a_terminal(words, env={**environment, **more}, cwd=folder) as terminal:
            yield terminal


@asynccontextmanager
async def _home(
    client: Client, agent: str, database: Database, *, model_url: str
) -> AsyncIterator[tuple[Path, Sequence[str], Mapping[str, str]]]:
    installed(client.name)
    with (
        meeting_place() as sockets,
        tempfile.TemporaryDirectory(prefix="coordinator-test-") as name,
    ):
        home = Path(name, "home")
        home.mkdir()
        given = {"DATABASE_URL": database.dsn, **at(sockets)}
        environment = {**client.environment(home, model_url), **given}
        command = client.command(home, ["coordinator", "mcp", "--agent", agent])
        _write_hooks(client.name, home, configured(client.name, agent))
        yield home, command, environment


def _write_hooks(client: str, home: Path, hooks: Hooks) -> None:
    more: Mapping[str, object]
    match client:
        case "claude":
            file = home / ".claude" / "settings.json"
            more = {"permissions": {"allow": ["mcp__coordinator"]}}
        case "codex":
            file, more = home / ".codex" / "hooks.json", {}
        case _:
            file = home / ".gemini" / "settings.json"
            more = json.loads(file.read_text())
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**more, "hooks": hooks}))


def _before_a_person(client: str, home: Path, folder: Path) -> Sequence[str]:
    """Answer beforehand what the client would ask; return its arguments."""
    if client == "claude":
        known = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        answers = {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "customApiKeyResponses": {"approved": ["a-dummy"], "rejected": []},
            "projects": {str(folder): known},
        }
        (home / ".claude.json").write_text(json.dumps(answers))
        return ["--mcp-config", str(home / "mcp.json")]
    with (home / ".codex" / "config.toml").open("a") as file:
        file.write(f'\n[projects."{folder}"]\ntrust_level = "trusted"\n')
    return ["--dangerously-bypass-hook-trust", "--dangerously-bypass-approvals-and-sandbox"]
