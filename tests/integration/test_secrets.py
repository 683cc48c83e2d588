"""Planted secrets are nowhere in what we say: logs, errors, health, arguments, the server's log.

Each secret is a text of its own, so that a find tells which one leaked. What an operator asks to
see (`handoffs show`) is no leak of content; a password is never shown, whoever asks.
"""

import json
import os
import signal
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import pytest
import pytest_asyncio

from coordinator.agents import Agent, AgentHost, GiveUp
from coordinator.cli.app import coordinator as commands
from coordinator.cli.app import main
from coordinator.cli.common import opened
from coordinator.config import Settings
from coordinator.core.errors import CoordinatorError
from coordinator.core.hidden import Hidden
from coordinator.store.dsn import connect_target
from coordinator.store.migrations import migrate
from coordinator.store.scram import verifier
from tests.support.listening import ListeningServer, listening_server
from tests.support.looking import PAGES, command_lines, health_pages
from tests.support.postgres import Cluster, Connection, Database, migrated_cluster
from tests.support.processes import RunningProcess, coordinator
from tests.support.sdk import desk_at
from tests.support.waiting import eventually

PASSWORD = "planted-password-7391"
OTHER_PASSWORD = "planted-other-password-2846"
KEY_PASSWORD = "planted-key-password-5502"
PASSWORDS = (PASSWORD, OTHER_PASSWORD, KEY_PASSWORD)

TASK = "planted-task-1187"
CONTEXT = "planted-context-9034"
RESULT = "planted-result-6620"
ERROR = "planted-error-4419"
PROGRESS = "planted-progress-3378"
CURRENT_TASK = "planted-current-task-8261"
METADATA = "planted-metadata-7145"
CONTENT = (TASK, CONTEXT, RESULT, ERROR, PROGRESS, CURRENT_TASK, METADATA)


Typed = Callable[..., str]


def leaks(text: str, *secrets: str) -> list[str]:
    """Which of the secrets stand in a text, each with what is around it."""
    return [
        text[max(0, text.index(secret) - 200) : text.index(secret) + 60]
        for secret in secrets
        if secret in text
    ]


@dataclass(frozen=True, slots=True)
class Place:
    """A database whose login has a password, and its owner's way in beside it."""

    database: Database
    server: ListeningServer
    owner: Connection
    login: str

    def dsn(self, password: str = PASSWORD, **parameters: str) -> str:
        """The login's way in."""
        return self.server.dsn(self.database.name, self.login, password, **parameters)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[tuple[ListeningServer, Cluster]]:
    """A server that asks for passwords, and logs all that it is told."""
    settings = {"log_statement": "all", "log_min_error_statement": "debug5"}
    async with listening_server("host all all all scram-sha-256", settings) as listening:
        yield listening, await migrated_cluster(listening.server)


@pytest.fixture
async def place(server: tuple[ListeningServer, Cluster]) -> AsyncIterator[Place]:
    """A migrated database of the test's own."""
    listening, cluster = server
    async with cluster.database() as database, database.connect() as owner:
        login = f"planted_{database.name}"
        await owner.execute(
            f"create role {login} login password '{verifier(PASSWORD)}'"
            " in role coordinator_daemon, coordinator_agent"
        )
        yield Place(database, listening, owner, login)
        await owner.execute(f"drop owned by {login}; drop role {login}")


# The daemon -------------------------------------------------------------------------------------


async def test_a_daemons_whole_life_tells_no_secret(place: Place, tmp_path: Path) -> None:
    dsn_file = tmp_path / "dsn"
    dsn_file.write_text(place.dsn())
    heard: list[str] = []
    async with a_daemon(COORDINATOR_DSN_FILE=str(dsn_file)) as daemon:
        await daemon.seen("daemon.ready")
        await listen(place.owner, heard)
        await work(place)
        await daemon.seen("handoff.progressed")
        await daemon.seen("handoff.failed")
        health = await health_pages(daemon)
        arguments = command_lines(daemon.pid)
        # The configuration is another one, and the database goes away and comes back.
        dsn_file.write_text(place.dsn(OTHER_PASSWORD))
        daemon.kill(signal.SIGHUP)
        await daemon.seen("daemon.reloaded")
        await place.owner.execute(f"alter role {place.login} password '{verifier(OTHER_PASSWORD)}'")
        await end_sessions(place)
        await daemon.seen("store.lost")
        await place.owner.execute(f"alter role {place.login} password '{verifier(PASSWORD)}'")
        await daemon.seen("store.restored")
        dsn_file.write_text(f"postgresql://ada:{OTHER_PASSWORD}/x@y/db")
        daemon.kill(signal.SIGHUP)
        await daemon.seen("daemon.reloaded", count=2)
        dsn_file.unlink()
        daemon.kill(signal.SIGHUP)
        await daemon.seen("config.rejected")
        daemon.kill(signal.SIGTERM)
        assert await daemon.wait() == 0

        told = daemon.stdout + daemon.stderr

    assert len(heard) > 4
    assert len(health) == len(PAGES)
    assert any("run" in line for line in arguments)
    for text in (told, *health, *arguments, *heard):
        assert leaks(text, *PASSWORDS, *CONTENT) == []


async def test_a_daemon_that_crashes_tells_no_secret_in_its_traceback(place: Place) -> None:
    # With a history it believes the schema to be right.
    async with opened(place.database.dsn) as store:
        await migrate(store)
    async with a_daemon(DATABASE_URL=place.dsn()) as daemon:
        await daemon.seen("daemon.ready")
        await work(place)
        # Nobody foresees that a column is gone.
        await place.owner.execute("alter table coordination.tail_cursor drop column logged")
        await end_sessions(place)
        code = await daemon.wait()
        told = daemon.stdout + daemon.stderr

    assert code not in (0, 78)
    assert "exception.stacktrace" in told
    assert leaks(told, *PASSWORDS, *CONTENT) == []


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://nobody:{PASSWORD}@127.0.0.1:1:2/x",
        f"postgresql://nobody:{PASSWORD}/x@127.0.0.1/x",
        f"host=127.0.0.1 password={PASSWORD} nonsense",
        f"postgresql://nobody:{PASSWORD}@127.0.0.1/x?sslpassword={KEY_PASSWORD}&nope=1",
        f"mysql://nobody:{PASSWORD}@127.0.0.1/x",
    ],
)
async def test_a_daemon_that_cannot_read_its_dsn_does_not_show_it(dsn: str) -> None:
    async with a_daemon(DATABASE_URL=dsn, COORDINATOR_DEBUG="1") as daemon:
        assert await daemon.wait() == 78
        told = daemon.stdout + daemon.stderr

    assert "Traceback" in told
    assert leaks(told, *PASSWORDS) == []


async def test_a_daemon_with_a_wrong_password_does_not_show_it(place: Place) -> None:
    dsn = place.dsn(OTHER_PASSWORD, sslpassword=KEY_PASSWORD)
    async with a_daemon(DATABASE_URL=dsn, COORDINATOR_DEBUG="1") as daemon:
        assert await daemon.wait() == 78
        told = daemon.stdout + daemon.stderr

    assert "password authentication failed" in told
    assert leaks(told, *PASSWORDS) == []


# The commands -----------------------------------------------------------------------------------

SHOWS_CONTENT = {"agents list", "agents show", "events"} | {
    f"handoffs {verb}" for verb in ("create", "list", "show", "cancel", "retry")
}
"""Who gives these asks for what agents wrote."""
RUN_ELSEWHERE = {"run", "demo", "dev", "agent run", "agent webhook", "mcp"}


def every_command(group: click.Group = commands, *before: str) -> Iterator[str]:
    """The names of all commands."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, *before, name)
        else:
            yield " ".join((*before, name))


def given(place: Place, handoff: str, tmp_path: Path) -> dict[str, list[str]]:
    """Every command with arguments that make it say as much as it can."""
    login = f"{place.login}_of_ada"
    password = tmp_path / "password"
    password.write_text(KEY_PASSWORD)
    return {
        "migrate": [],
        "doctor": [],
        "status": [],
        "agent hook": ["claude", "busy", "--agent", "nobody"],
        "agent install": ["claude", "--agent", "ada", "--cwd", str(tmp_path), "--dry-run"],
        "agents list": [],
        "agents show": ["ada"],
        "agents create-login": ["ada", "--login", login, "--password-file", str(password)],
        "agents list-logins": [],
        "agents drop-login": [login],
        "handoffs create": ["--from", "ada", "--to", "ada", "--task", TASK],
        "handoffs list": [],
        "handoffs show": [handoff],
        "handoffs cancel": [handoff],
        "handoffs retry": [handoff],
        "tasks hand-off": [handoff, "--to", "ada"],
        "events": [],
        "health": [],
        "config show": ["--origin"],
        "config schema": [],
        "completions": ["bash"],
        "install-service": ["--dry-run"],
        # No process has this number.
        "reload": ["--pid", "2147483000"],
    }


def test_no_command_shows_a_password_and_few_show_content(
    place: Place, ended_handoff: str, tmp_path: Path, typed: Typed
) -> None:
    commands_given = given(place, ended_handoff, tmp_path)
    assert commands_given.keys() | RUN_ELSEWHERE == set(every_command())
    ways = {
        "right": place.dsn(sslpassword=KEY_PASSWORD),
        "wrong password": place.dsn(OTHER_PASSWORD),
        "no DSN": f"postgresql://nobody:{PASSWORD}/x@127.0.0.1/x",
    }

    told = {
        (name, way, form): typed(name.split() + arguments + ([form] if form else []), dsn)
        for name, arguments in commands_given.items()
        for way, dsn in ways.items()
        for form in ("", "--json")
    }
    for name in commands_given:
        told[name, "help", ""] = typed([*name.split(), "--help"], ways["right"])

    found = {
        key: leaks(text, *PASSWORDS, *([] if key[0] in SHOWS_CONTENT else CONTENT))
        for key, text in told.items()
    }
    assert {key: leaked for key, leaked in found.items() if leaked} == {}
    assert "TASK" not in told["status", "right", ""]
    assert TASK in told["handoffs show", "right", "--json"]
    assert "password authentication failed" in told["status", "wrong password", ""]


def test_the_configuration_is_shown_without_the_dsn_from_wherever_it_comes(
    tmp_path: Path, typed: Typed
) -> None:
    dsn = f"postgresql://ada:{PASSWORD}@db/x"
    (tmp_path / "dsn").write_text(dsn)
    (tmp_path / "c.toml").write_text(f'dsn = "{dsn}"')
    ways: list[dict[str, str]] = [
        {"DATABASE_URL": dsn},
        {"COORDINATOR_DSN": dsn},
        {"COORDINATOR_DSN_FILE": str(tmp_path / "dsn")},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
        {"COORDINATOR_CONFIG": str(tmp_path / "c.toml")},
    ]
    for way in ways:
        for wrong in ({}, {"COORDINATOR_STALE_AFTER": "1s"}, {"COORDINATOR_NOPE": "1"}):
            for form in ([], ["--json"], ["--origin"]):
                told = typed(["config", "show", *form], None, way | wrong)

                assert leaks(told, PASSWORD) == []
                assert ("***" in told) is (not wrong), told


# What the SDK and the settings show -------------------------------------------------------------


@pytest.mark.parametrize("connect", [Agent.connect, AgentHost.connect])
async def test_a_traceback_with_variables_shows_no_password(
    place: Place, connect: Callable[..., Any], tmp_path: Path
) -> None:
    """As tools that gather errors make it; what the caller itself keeps in variables is its own."""
    name = ["ada"] if connect == Agent.connect else []
    refused = [
        Hidden(place.dsn(OTHER_PASSWORD, sslpassword=KEY_PASSWORD)),
        Hidden(f"postgresql://ada:{PASSWORD}@127.0.0.1:1/x?sslpassword={KEY_PASSWORD}"),
        Hidden(f"postgresql://ada:{PASSWORD}@127.0.0.1/x?nope=1"),
        Hidden(f"postgresql://ada:{PASSWORD}/x"),
        Hidden(place.dsn(sslmode="require", sslpassword=KEY_PASSWORD)),
        Hidden(place.dsn(sslmode="require", sslcert=__file__, sslpassword=KEY_PASSWORD)),
    ]
    for dsn in refused:
        with pytest.raises(CoordinatorError) as caught:
            async with connect(dsn.plain(), *name):
                pass

        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        text = "".join(told.format()) + repr(caught.value) + str(caught.value)
        assert "coordinator/agents" in text
        assert leaks(text, *PASSWORDS) == []


def test_settings_and_targets_show_no_password() -> None:
    dsn = f"postgresql://ada:{PASSWORD}@db,other/x?sslpassword={KEY_PASSWORD}&sslmode=require"
    settings = Settings.load({"DATABASE_URL": dsn})
    target = connect_target(dsn)

    shown = [
        *(repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()),
        *(json.dumps(settings.model_dump(mode="json")), repr(settings.describe())),
        *(repr(target), str(target), repr(target.arguments(target.hosts[0]))),
        *(repr(vars(settings)), f"{settings}", f"{target}"),
    ]

    assert leaks("\n".join(shown), *PASSWORDS) == []
    assert target.password == PASSWORD


# What the server hears --------------------------------------------------------------------------


async def test_the_servers_log_holds_no_password(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{KEY_PASSWORD}\n")
    environment = {"DATABASE_URL": place.database.dsn}
    login = f"{place.login}_of_ada"
    for command in (
        ["migrate"],
        ["agents", "create-login", "ada", "--login", login, "--password-file", str(file)],
        ["agents", "drop-login", login],
    ):
        async with coordinator(*command, env=environment) as process:
            assert await process.wait() == 0, process
    async with Agent.connect(place.dsn(), "ada"):
        pass

    assert leaks(place.server.server.log.read_text(), *PASSWORDS) == []


# Demonstrations ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", ["demo", "dev"])
async def test_a_demonstration_keeps_the_dsn_it_finds_to_itself(
    command: str, tmp_path: Path
) -> None:
    """Their processes inherit the environment; none puts it into its arguments or its output."""
    dsn = f"postgresql://ada:{PASSWORD}@127.0.0.1:1/x"
    async with coordinator(command, env={"DATABASE_URL": dsn}, cwd=tmp_path) as process:
        lines: set[str] = set()

        async def enough() -> bool:
            lines.update(command_lines(process.pid))
            # The one ends by itself; the other goes on once it has said how to reach its database.
            return process.process.poll() is not None or "export DATABASE_URL" in process.stdout

        await eventually(enough, within=timedelta(seconds=60))
        process.kill(signal.SIGTERM)
        await process.wait()
        told = process.stdout + process.stderr

    assert len(lines) > 2
    assert leaks(told + "\n".join(lines), PASSWORD) == []


# Means ------------------------------------------------------------------------------------------


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Give a command in this process; return all that it says."""
    for name in [name for name in os.environ if name.startswith(("COORDINATOR_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def give(
        arguments: list[str], dsn: str | None, environment: Mapping[str, str] | None = None
    ) -> str:
        variables = {"COORDINATOR_DEBUG": "1", **(environment or {})}
        if dsn:
            variables["DATABASE_URL"] = dsn
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["coordinator", *arguments])
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit):
                main()
        said = capsys.readouterr()
        return said.out + said.err

    return give


@pytest.fixture
async def ended_handoff(place: Place) -> str:
    """A handoff that failed, with planted content in every field, from an agent full of it."""
    await place.owner.execute(
        "insert into agent_status (agent_name, current_task, metadata)"
        f" values ('ada', '{CURRENT_TASK}', jsonb_build_object('x', '{METADATA}'))"
    )
    await place.owner.execute(
        "insert into handoffs (from_agent, to_agent, task_description, context, max_attempts)"
        f" values ('ada', 'ada', '{TASK}', jsonb_build_object('x', '{CONTEXT}'), 1)"
    )
    async with desk_at(place.database) as desk:
        await desk.dispatch("ada")
    handoff: UUID = await place.owner.fetchval("select id from handoffs")
    for call in (
        f"report_progress($1, 1, 'ada', note => '{PROGRESS}')",
        f"fail_handoff($1, 1, 'ada', error => '{ERROR}', result => to_jsonb('{RESULT}'::text))",
    ):
        await place.owner.execute(f"select {call}", handoff)
    return str(handoff)


@asynccontextmanager
async def a_daemon(**environment: str) -> AsyncIterator[RunningProcess]:
    """A quick daemon that logs everything it can."""
    settings = {
        "COORDINATOR_LOG_FORMAT": "json",
        "COORDINATOR_LOG_LEVEL": "debug",
        "COORDINATOR_HEALTH_TCP": "127.0.0.1:0",
    }
    async with coordinator("run", env=settings | environment) as process:
        yield process


async def work(place: Place) -> None:
    """One handoff that succeeds and one that fails, full of planted content."""
    async with Agent.connect(
        place.dsn(), "ada", metadata={"x": METADATA}, on_error=lambda *_: None
    ) as ada:
        await ada.set_status("idle", current_task=CURRENT_TASK)
        await ada.hand_off("ada", TASK, context={"x": CONTEXT})
        await ada.hand_off("ada", TASK, context={"x": CONTEXT, "fail": True})
        async for handoff in ada.handoffs():
            async with handoff:
                await handoff.report_progress(PROGRESS, x=PROGRESS)
                handoff.succeed(RESULT)
                if "fail" in handoff.context:
                    ada.stop()
                    raise GiveUp(ERROR, result=RESULT)


async def listen(connection: Connection, heard: list[str]) -> None:
    """Hear everything that is notified in this database."""
    own: str = await connection.fetchval("select agent_channel('ada')")
    for channel in ("handoffs", "agent_status", own):
        await connection.add_listener(channel, lambda *told: heard.append(repr(told[2:])))


async def end_sessions(place: Place) -> None:
    """End all connections of the login."""
    await place.owner.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", place.login
    )
