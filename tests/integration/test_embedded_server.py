"""The private server starts anywhere, keeps its data, and never outlives its starter."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from coordinator.core.errors import ConfigError
from coordinator.embedded import PrivateServer, binaries, find_binaries
from coordinator.embedded.identity import CHILD, identity_for
from tests.support.postgres import chosen_binaries
from tests.support.processes import running
from tests.support.waiting import eventually

pytestmark = pytest.mark.matrix

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes identity")

NOBODY = 65534

STARTER = """
import asyncio, json, sys
from pathlib import Path
from coordinator.embedded import PrivateServer, find_binaries

async def main():
    async with PrivateServer.start(Path(sys.argv[1]), find_binaries(Path(sys.argv[2]))) as server:
        print(json.dumps({"event": "server.ready", "pid": server.pid}), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, so that the socket stays in the data directory."""
    with TemporaryDirectory(prefix="embedded-") as name:
        yield Path(name)


@asynccontextmanager
async def server_in(path: Path) -> AsyncIterator[PrivateServer]:
    async with PrivateServer.start(path, chosen_binaries(), durable=False) as server:
        yield server


async def ask(server: PrivateServer, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn())
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def has_ended(pid: int) -> None:
    async def probe() -> bool:
        return not is_alive(pid)

    await eventually(probe)


def starter(path: Path) -> list[str | Path]:
    return [sys.executable, "-c", STARTER, path, chosen_binaries().bin_dir]


async def test_it_answers_on_a_private_socket_and_on_no_network(directory: Path) -> None:
    async with server_in(directory / "server") as server:
        listens_on = await ask(server, "select current_setting('listen_addresses')")

    assert listens_on == ""
    assert stat.S_IMODE((directory / "server" / "run").stat().st_mode) == 0o700


async def test_it_keeps_its_data_and_its_dsn_over_a_restart(directory: Path) -> None:
    async with server_in(directory / "server") as first:
        await ask(first, "create table kept as select 42 as answer")

    async with server_in(directory / "server") as second:
        assert await ask(second, "select answer from kept") == 42

    assert second.dsn() == first.dsn()


async def test_it_can_be_stopped_and_launched_again_under_its_clients(directory: Path) -> None:
    async with server_in(directory / "server") as server:
        await server.stop()
        assert server.pid is None

        await server.launch()

        assert await ask(server, "select 1") == 1


async def test_nothing_is_left_running_after_the_block(directory: Path) -> None:
    async with server_in(directory / "server") as server:
        pid = server.pid

    assert pid is not None
    assert not is_alive(pid)


async def test_it_dies_with_a_starter_that_is_killed(directory: Path) -> None:
    async with running(starter(directory / "server")) as process:
        ready = await process.seen("server.ready")

        process.kill(signal.SIGKILL)

        await has_ended(ready["pid"])


async def test_it_starts_at_once_after_its_starter_was_killed(directory: Path) -> None:
    async with running(starter(directory / "server")) as process:
        await process.seen("server.ready")
        process.kill(signal.SIGKILL)

        async with server_in(directory / "server") as server:
            assert await ask(server, "select 1") == 1


async def test_a_stale_pid_file_is_survived_even_if_its_number_is_in_use(directory: Path) -> None:
    async with server_in(directory / "server") as server:
        pid_file = directory / "server" / "data" / "postmaster.pid"
        before = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *before[1:]]))

    async with server_in(directory / "server") as server:
        assert await ask(server, "select 1") == 1


async def test_it_recovers_after_the_server_itself_was_killed(directory: Path) -> None:
    async with server_in(directory / "server") as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await has_ended_child(server)
        await server.stop()

        await server.launch()

        assert await ask(server, "select 1") == 1


async def has_ended_child(server: PrivateServer) -> None:
    async def probe() -> bool:
        return server.pid is None

    await eventually(probe)


async def test_a_second_start_on_a_live_directory_says_who_has_it(directory: Path) -> None:
    async with server_in(directory / "server") as server:
        with pytest.raises(ConfigError, match=f"already running.*process is {server.pid}"):
            async with server_in(directory / "server"):
                pass

        assert await ask(server, "select 1") == 1


async def test_it_works_below_a_closed_parent_with_a_space_in_its_name(directory: Path) -> None:
    parent = directory / "a closed folder"
    parent.mkdir(mode=0o700)

    async with server_in(parent / "my server") as server:
        assert await ask(server, "select 1") == 1

    assert stat.S_IMODE(parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["deep" * 30, "one,two", 'a "quoted" name'])
async def test_it_works_where_a_socket_could_not_be(directory: Path, name: str) -> None:
    async with server_in(directory / name) as server:
        assert await ask(server, "select 1") == 1


async def test_a_killed_initdb_is_begun_again(directory: Path) -> None:
    unfinished = directory / "server" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("15\n")

    async with server_in(directory / "server") as server:
        assert await ask(server, "select 1") == 1


async def test_a_failed_start_shows_the_end_of_the_log(directory: Path) -> None:
    server = PrivateServer(directory / "server", chosen_binaries(), {"work_mem": "plenty"})

    with pytest.raises(ConfigError, match='invalid value for parameter "work_mem"'):
        await server.launch()


async def test_data_of_another_major_version_is_refused(directory: Path) -> None:
    async with server_in(directory / "server"):
        pass
    (directory / "server" / "data" / "PG_VERSION").write_text("14\n")

    with pytest.raises(ConfigError, match=r"is of PostgreSQL 14.*--pg-bin"):
        async with server_in(directory / "server"):
            pass


async def test_a_directory_that_cannot_be_made_is_named(directory: Path) -> None:
    (directory / "file").touch()

    with pytest.raises(ConfigError, match="file/server"):
        async with server_in(directory / "file" / "server"):
            pass


async def test_a_foreign_socket_directory_is_refused(directory: Path) -> None:
    (directory / "server" / "run").mkdir(parents=True)
    (directory / "server" / "run").chmod(0o777)

    with pytest.raises(ConfigError, match="others may enter"):
        async with server_in(directory / "server"):
            pass


@needs_root
async def test_root_can_run_it_as_the_owner_of_its_data(directory: Path) -> None:
    directory.chmod(0o755)
    data = directory / "server" / "data"
    data.mkdir(parents=True)
    os.chown(data, NOBODY, NOBODY)

    async with server_in(directory / "server") as server:
        assert await ask(server, "select 1") == 1
        assert identity_for(data).argument == f"drop:{NOBODY}:{NOBODY}"
        assert (data / "PG_VERSION").stat().st_uid == NOBODY


@needs_root
async def test_an_owner_who_cannot_reach_the_data_is_named(directory: Path) -> None:
    directory.chmod(0o700)
    data = directory / "server" / "data"
    data.mkdir(parents=True)
    os.chown(data, NOBODY, NOBODY)

    with pytest.raises(ConfigError, match=rf"uid {NOBODY}: .*Permission denied"):
        async with server_in(directory / "server"):
            pass


@needs_root
async def test_an_ordinary_user_can_run_it(directory: Path) -> None:
    # In a namespace, for the interpreter may be where `nobody` cannot reach it.
    as_a_user: list[str | Path] = [sys.executable, CHILD, "namespace", "none", directory]

    async with running([*as_a_user, *starter(directory / "server")]) as process:
        ready = await process.seen("server.ready")

        assert is_alive(ready["pid"])


def test_the_guard_of_other_systems_ends_the_program_too() -> None:
    # Often, for what is tested is also a parent that is gone before the program has begun.
    for _ in range(20):
        theirs, ours = os.pipe()
        sleep = ["self", f"pipe:{theirs}", "/", "/bin/sleep", "60"]
        command = [sys.executable, "-I", "-S", str(CHILD), *sleep]
        with subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.DEVNULL) as process:
            os.close(theirs)

            os.close(ours)

            assert process.wait(timeout=10) == -signal.SIGINT


@pytest.fixture
def no_installed_server(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(binaries, "_DEBIAN", directory / "postgresql")


@pytest.mark.usefixtures("no_installed_server")
async def test_the_package_serves_where_no_server_is_installed(directory: Path) -> None:
    found = find_binaries()

    assert found.source == "package"
    async with PrivateServer.start(directory / "server", found, durable=False) as server:
        assert await ask(server, "select 1") == 1


@pytest.mark.usefixtures("no_installed_server")
def test_without_any_server_the_error_says_where_it_looked_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binaries, "_PACKAGE", "package_that_nobody_installed")

    with pytest.raises(ConfigError) as caught:
        find_binaries()

    assert "pg_config" in str(caught.value)
    assert "apt-get install postgresql" in str(caught.value)
    assert "agent-coordinator[demo]" in str(caught.value)
    assert "--pg-bin" in str(caught.value)


@pytest.mark.usefixtures("no_installed_server")
def test_debians_newest_server_is_taken_unless_another_is_preferred(directory: Path) -> None:
    for version in ("9.6", "15.18", "17.10"):
        install_fake(directory / "postgresql" / version.split(".")[0] / "bin", version)

    assert find_binaries().version == "17.10"
    assert find_binaries(prefer_major=15).version == "15.18"
    assert find_binaries(prefer_major=16).version == "17.10"


def test_a_directory_without_a_server_is_refused(directory: Path) -> None:
    with pytest.raises(ConfigError, match=f"no PostgreSQL server in {directory}"):
        find_binaries(directory)


def test_a_server_that_is_too_old_is_refused(directory: Path) -> None:
    install_fake(directory, "14.9")

    with pytest.raises(ConfigError, match=r"14\.9 .* is too old"):
        find_binaries(directory)


def install_fake(bin_dir: Path, version: str) -> None:
    """Programs that say this version; nothing asks them for more."""
    bin_dir.mkdir(parents=True, exist_ok=True)
    for program in ("initdb", "postgres"):
        path = bin_dir / program
        path.write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version} (a fake)'\n")
        path.chmod(0o755)
