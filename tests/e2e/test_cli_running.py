"""`coordinator run` and `coordinator health` as a service manager calls them."""

import signal
from pathlib import Path

import pytest

from tests.support.commands import data_of, ended
from tests.support.postgres import Database
from tests.support.processes import coordinator

# Nobody listens on port 1.
NOWHERE = "postgresql://someone:geheim@127.0.0.1:1/nothing"


async def test_the_daemon_runs_answers_and_drains(database: Database, tmp_path: Path) -> None:
    await data_of("migrate", on=database)
    dsn_file, socket = tmp_path / "dsn", tmp_path / "health.sock"
    dsn_file.write_text(database.dsn)
    arguments = ("--health-tcp", "127.0.0.1:0", "--health-socket", str(socket), "--json")
    async with coordinator("run", "--dsn-file", str(dsn_file), *arguments) as daemon:
        await daemon.seen("daemon.ready", role="leader")
        addresses = [line["address"] for line in daemon.logged("health.listening")]
        [tcp] = [address for address in addresses if address != str(socket)]

        alive = await ended("health", "--address", tcp)
        ready = await ended("health", "--socket", str(socket), "--ready", "--json")
        configured = await ended("health", env={"COORDINATOR_HEALTH_SOCKET": str(socket)})
        status = await data_of("status", on=database)
        daemon.kill(signal.SIGTERM)
        code = await daemon.wait()

        gone = await ended("health", "--socket", str(socket))

    assert (alive.code, alive.out.splitlines()[0]) == (0, "ok")
    assert (ready.code, ready.data["asked"], ready.data["ok"]) == (0, "/readyz", True)
    assert configured.code == 0
    assert status["leader"]["led"] is True
    assert code == 0
    assert gone.code == 69


async def test_the_daemon_waits_for_a_lost_database_and_is_not_ready() -> None:
    env = {"DATABASE_URL": NOWHERE, "COORDINATOR_HEALTH_TCP": "127.0.0.1:0"}
    async with coordinator("run", env=env) as daemon:
        await daemon.seen("store.lost")
        address = daemon.logged("health.listening")[0]["address"]

        alive = await ended("health", "--address", address)
        ready = await ended("health", "--address", address, "--ready")
        daemon.kill(signal.SIGTERM)
        code = await daemon.wait()

        assert "geheim" not in daemon.stdout + daemon.stderr

    assert alive.code == 0
    assert (ready.code, ready.out.splitlines()[0].partition(":")[0]) == (1, "not ready")
    assert code == 0


async def test_the_daemon_refuses_a_database_without_the_schema(fresh_database: Database) -> None:
    refused = await ended("run", "--health-tcp", "off", on=fresh_database)

    assert refused.code == 78
    assert "coordinator migrate" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--address", "here"], 78),
        (["--address", "127.0.0.1:1"], 69),
        (["--socket", "/no/such/socket"], 69),
        (["--socket", "/a", "--address", "127.0.0.1:1"], 64),
        (["--timeout", "0"], 64),
    ],
)
async def test_health_without_a_daemon_says_so(arguments: list[str], exit_code: int) -> None:
    asked = await ended("health", *arguments)

    assert asked.code == exit_code
    assert "next: " in asked.err


async def test_health_without_a_socket_says_so() -> None:
    asked = await ended("health", env={"COORDINATOR_HEALTH_TCP": "off"})

    assert asked.code == 78
    assert "no health socket" in asked.err


async def test_a_hangup_reads_file_and_flags_again(tmp_path: Path) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text('safety_poll = "5s"\n')
    env = {"DATABASE_URL": NOWHERE}
    flags = ("--config", str(file), "--health-tcp", "off", "--stale-after", "1m")
    async with coordinator("run", *flags, env=env) as daemon:
        await daemon.seen("store.lost")
        file.write_text('safety_poll = "4s"\n')
        daemon.kill(signal.SIGHUP)
        reloaded = await daemon.seen("daemon.reloaded")
        file.write_text('safety_poll = "soon"\n')
        daemon.kill(signal.SIGHUP)
        await daemon.seen("config.rejected")
        daemon.kill(signal.SIGTERM)

        assert await daemon.wait() == 0

    assert reloaded["applied"] == ["safety_poll"]
