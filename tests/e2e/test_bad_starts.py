"""`coordinator run` where it cannot start: it says why in one error, and ends or waits.

What must change ends it with 78, once and for all; what only takes time it waits out. The other bad
starts are where their causes are. In `tests/faults`: a schema that is too old or too new
(`test_version_skew.py`), a standby server (`test_standby_servers.py`), clocks that jump
(`test_clocks.py`), a database that starts after the daemon or refuses it for a while
(`test_outages.py`). In `tests/integration`: half a schema and a login without rights
(`daemon/test_starting.py`), a wrong password (`test_secrets.py`). In `tests/slow`: a pooler in
transaction mode (`test_poolers.py`).
"""

import os
import re
import signal
import socket
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from coordinator.core.errors import ExitCode
from tests.integration.daemon.daemons import daemon, leader
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, RunningProcess, coordinator, running

SOON = timedelta(seconds=10)
# Nobody listens on port 1.
NOWHERE = "postgresql://someone:geheim@127.0.0.1:1/nothing"
NOT_EVEN_ROOT = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
"""What a command begins with that is to read no more than its user may."""
PART = re.compile(r"(error|  why| next): \S|       \S")


# --- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "mentioned"),
    [
        ({}, ["no database is named", "DATABASE_URL", "coordinator dev"]),
        ({"DATABASE_URL": ""}, ["no database is named"]),
        ({"DATABASE_URL": "mysql://me:geheim@here/db"}, ["DSN", "postgresql://"]),
        ({"DATABASE_URL": "postgresql://me:geheim@here:port/db"}, ["DSN"]),
        ({"DATABASE_URL": NOWHERE + "?sslmode=sometimes"}, ["sslmode"]),
        ({"DATABASE_URL": NOWHERE, "COORDINATOR_STALE_AFTR": "1m"}, ["COORDINATOR_STALE_AFTER"]),
        ({"DATABASE_URL": NOWHERE, "COORDINATOR_STALE_AFTER": "1s"}, ["heartbeat_interval"]),
        ({"COORDINATOR_DSN": NOWHERE, "COORDINATOR_DSN_FILE": "dsn"}, ["given twice"]),
        ({"COORDINATOR_DSN_FILE": "missing"}, ["missing", "No such file"]),
        ({"COORDINATOR_DSN_FILE": "."}, ["is a directory"]),
        ({"COORDINATOR_DSN_FILE": "empty"}, ["is empty"]),
        ({"COORDINATOR_DSN_FILE": "noise"}, ["is not text"]),
        ({"CREDENTIALS_DIRECTORY": "."}, ["no database is named"]),
        ({"COORDINATOR_CONFIG": "missing"}, ["missing", "No such file"]),
        ({"COORDINATOR_CONFIG": "noise"}, ["is not TOML"]),
        ({"COORDINATOR_CONFIG": "typo.toml"}, ["stale_aftr", "did you mean stale_after?"]),
    ],
    ids=str,
)
async def test_a_wrong_configuration_ends_it_with_one_error(
    tmp_path: Path, env: dict[str, str], mentioned: list[str]
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "typo.toml").write_text('stale_aftr = "1m"\n')

    async with coordinator("run", env=env, cwd=tmp_path) as process:
        await refused(process, *mentioned)
        assert "geheim" not in process.stderr + process.stdout


async def test_an_empty_credential_of_systemd_is_named(tmp_path: Path) -> None:
    (tmp_path / "dsn").touch()

    async with coordinator("run", env={"CREDENTIALS_DIRECTORY": str(tmp_path)}) as process:
        await refused(process, str(tmp_path / "dsn"), "is empty")


@pytest.mark.parametrize("variable", ["COORDINATOR_DSN_FILE", "COORDINATOR_CONFIG"])
async def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, variable: str) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0)
    command: Sequence[str | Path] = [SCRIPT, "run"]
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
        command = [*NOT_EVEN_ROOT, *command]

    async with running(command, env={variable: str(file)}) as process:
        await refused(process, str(file), "Permission denied")


@pytest.mark.parametrize("option", ["--config", "--dsn-file"])
async def test_a_flag_that_names_no_file_is_wrong_usage(option: str) -> None:
    async with coordinator("run", option, "/no/such/file") as process:
        assert await process.wait(within=SOON) == ExitCode.USAGE
        assert option in process.stderr
        assert said_once(process)


# --- the health socket ----------------------------------------------------------------------------


async def test_a_port_in_use_is_named(database: Database, taken: str) -> None:
    async with daemon(database, health_tcp=taken) as process:
        await refused(process, taken, "already in use", "health_tcp")
        assert process.logged("daemon.failed", **{"error.type": "ConfigError"})


async def test_a_socket_in_use_is_named_and_the_daemon_that_has_it_goes_on(
    database: Database, tmp_path: Path
) -> None:
    path = str(tmp_path / "health.sock")
    async with leader(database, health_socket=path) as first:
        async with daemon(database, health_socket=path) as second:
            await refused(second, path, "Stop the daemon that listens there")

        async with coordinator("health", "--socket", path, "--ready") as asked:
            assert await asked.wait(within=SOON) == ExitCode.OK, str(asked)
        assert first.process.poll() is None


# --- the database ---------------------------------------------------------------------------------


async def test_an_empty_database_ends_it_with_one_error(fresh_database: Database) -> None:
    async with daemon(fresh_database) as process:
        await refused(process, "schema is missing", "coordinator migrate")


@pytest.mark.parametrize(
    "dsn", [NOWHERE, "postgresql://someone:geheim@nowhere.invalid/nothing"], ids=str
)
async def test_a_server_that_cannot_be_reached_is_waited_for_and_told_once(dsn: str) -> None:
    async with daemon(dsn) as process:
        await process.seen("store.lost")
        await anyio.sleep(2)  # several more tries
        process.kill(signal.SIGTERM)

        assert await process.wait(within=SOON) == ExitCode.OK, str(process)
        assert len(process.logged("store.lost")) == 1
        assert process.stderr == ""
        assert "geheim" not in process.stdout


# --- acts and looks -------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[str]:
    """An address at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        yield f"{host}:{port}"


async def refused(process: RunningProcess, *mentioned: str) -> None:
    """Wait for the end with 78, and look for one error that has these words."""
    assert await process.wait(within=SOON) == ExitCode.CONFIG, str(process)
    assert [word for word in mentioned if word.lower() not in process.stderr.lower()] == []
    assert said_once(process), process.stderr


def said_once(process: RunningProcess) -> bool:
    """Whether it was said in one error of three parts, and in one line of the log at most."""
    lines = process.stderr.splitlines()
    failed = process.logged("daemon.failed")
    return (
        lines[0].startswith("error: ")
        and sum(line.startswith("error: ") for line in lines) == 1
        and all(map(PART.match, lines))
        and len(failed) <= 1
        and process.lines[-1:] == failed
    )
