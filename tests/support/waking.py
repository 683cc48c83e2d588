"""The real clients, configured by `coordinator agent install`."""

import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from coordinator.waking.door import FOLDER_VARIABLE
from tests.support.clients import Client, installed, kill_all_of
from tests.support.commands import ended
from tests.support.hooks import at, meeting_place
from tests.support.installing import NOWHERE
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running
from tests.support.terminal import Terminal, in_a_terminal


@asynccontextmanager
async def hooked_session(
    client: Client, agent: str, database: Database, *, model_url: str
) -> AsyncIterator[RunningProcess]:
    """Have a client with hooks work on one prompt, without a terminal."""
    async with _home(client, database, model_url=model_url) as (home, environment):
        await _install(client, agent, home, environment)
        trusting = {"codex": ("--dangerously-bypass-hook-trust",)}.get(client.name, ())
        first, *rest = client.prompted[1:]
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
    async with _home(client, database, model_url=model_url) as (home, environment):
        folder = home / "project"
        folder.mkdir()
        words = [installed(client.name), *_before_a_person(client.name, home, folder)]
        await _install(client, agent, home, environment)
        async with in_a_terminal(words, env={**environment, **more}, cwd=folder) as terminal:
            yield terminal


@asynccontextmanager
async def _home(
    client: Client, database: Database, *, model_url: str
) -> AsyncIterator[tuple[Path, Mapping[str, str]]]:
    installed(client.name)
    with (
        meeting_place() as sockets,
        tempfile.TemporaryDirectory(prefix="coordinator-test-") as name,
    ):
        home = Path(name, "home")
        home.mkdir()
        given = {"DATABASE_URL": database.dsn, **at(sockets)}
        yield home, {**client.environment(home, model_url), **given}


async def _install(client: Client, agent: str, home: Path, environment: Mapping[str, str]) -> None:
    words = ("agent", "install", client.name, "--agent", agent, "--scope", "user", "--yes")
    done = await ended(*words, env={**NOWHERE, **environment})
    assert done.code == 0, done.err
    if client.name == "codex":  # only a test has its sockets elsewhere
        file = home / ".codex" / "config.toml"
        here = f'env_vars = ["{FOLDER_VARIABLE}", '
        file.write_text(file.read_text().replace("env_vars = [", here))


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
        return []
    with (home / ".codex" / "config.toml").open("a") as file:
        file.write(f'\n[projects."{folder}"]\ntrust_level = "trusted"\n')
    return ["--dangerously-bypass-hook-trust", "--dangerously-bypass-approvals-and-sandbox"]
