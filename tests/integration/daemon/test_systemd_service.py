"""What the service manager hears: READY after the first scan, then status, reload and stop."""

import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator
from tests.support.waiting import eventually

SOON = timedelta(seconds=5)


async def test_ready_comes_after_the_first_full_scan(
    database: Database, world: World, manager: "Manager"
) -> None:
    await world.agent("ada")
    handoff_id = await world.handoff("ada")
    async with World.on(database) as stranger:
        locking = stranger.connection.transaction()
        await locking.start()
        await stranger.execute("lock table handoffs in access exclusive mode")
        async with service(database, manager):
            await daemon_waits(world)
            assert not manager.heard("READY=1")

            await locking.rollback()

            await manager.hears("READY=1")
    assert await world.state(handoff_id) == ("in_progress", None)


async def test_a_standby_is_ready_too_and_says_what_it_is(
    database: Database, manager: "Manager", tmp_path: Path
) -> None:
    with managing(tmp_path / "other") as other:
        async with service(database, manager), service(database, other):
            await manager.hears("READY=1")
            await other.hears("READY=1")

            statuses = sorted([manager.status, other.status])

    assert statuses == ["leading, term 1", "standing by"]


async def test_the_status_follows_the_role(
    database: Database, world: World, manager: "Manager"
) -> None:
    async with service(database, manager) as process:
        await manager.hears("STATUS=leading, term 1")
        await manager.hears("READY=1")  # after the first scan, a moment later
        await world.value(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name = 'coordinator listener' and datname = current_database()"
        )

        await manager.hears("STATUS=waiting for the database")
        await manager.hears("STATUS=leading, term 2")
        assert len(manager.heard("READY=1")) == 1
        assert process.process.poll() is None


async def test_a_reload_is_announced_and_then_over(database: Database, manager: "Manager") -> None:
    async with service(database, manager) as process:
        await manager.hears("READY=1")
        process.kill(signal.SIGHUP)

        await manager.hears("READY=1", count=2)

        [reloading] = manager.heard("RELOADING=1")
        assert "MONOTONIC_USEC=" in reloading


async def test_a_stop_is_announced(database: Database, manager: "Manager") -> None:
    async with service(database, manager) as process:
        await manager.hears("READY=1")
        process.kill(signal.SIGTERM)

        await manager.hears("STOPPING=1")
        assert await process.wait(within=SOON) == 0


async def test_the_watchdog_is_fed_while_the_daemon_turns(
    database: Database, manager: "Manager"
) -> None:
    async with service(database, manager, WATCHDOG_USEC="400000"):
        await manager.hears("READY=1")
        fed = len(manager.heard("WATCHDOG=1"))

        await manager.hears("WATCHDOG=1", count=fed + 4)


async def test_without_a_database_nothing_is_ready(manager: "Manager", tmp_path: Path) -> None:
    nowhere = f"postgresql://postgres@/postgres?host={tmp_path}"
    environment = {"DATABASE_URL": nowhere, "NOTIFY_SOCKET": str(manager.path)}
    async with coordinator("run", "--health-tcp", "off", env=environment) as process:
        await process.seen("store.lost")

        process.kill(signal.SIGTERM)
        assert await process.wait(within=SOON) == 0

    assert not manager.heard("READY=1")


# --- the manager ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Manager:
    """A notify socket, and what has arrived there."""

    path: Path
    socket: socket.socket
    datagrams: list[str] = field(default_factory=list)

    def heard(self, assignment: str) -> list[str]:
        """The datagrams so far that have this line."""
        self._receive()
        return [gram for gram in self.datagrams if assignment in gram.splitlines()]

    async def hears(self, assignment: str, *, count: int = 1) -> None:
        """Wait for so many datagrams that have this line."""

        async def probe() -> bool:
            return len(self.heard(assignment)) >= count

        try:
            await eventually(probe)
        except AssertionError as error:
            error.add_note(f"waiting for {assignment}, heard {self.datagrams}")
            raise

    @property
    def status(self) -> str:
        """The last STATUS."""
        self._receive()
        lines = [line for gram in self.datagrams for line in gram.splitlines()]
        return [line for line in lines if line.startswith("STATUS=")][-1].removeprefix("STATUS=")

    def _receive(self) -> None:
        while True:
            try:
                self.datagrams.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return


@contextmanager
def managing(path: Path) -> Iterator[Manager]:
    """Open a notify socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(str(path))
        yield Manager(path, sock)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens."""
    with managing(tmp_path / "notify") as manager:
        yield manager


@asynccontextmanager
async def service(
    database: Database, manager: Manager, **variables: str
) -> AsyncIterator[RunningProcess]:
    """Run a daemon as a service of this manager."""
    environment = {"DATABASE_URL": database.dsn, "NOTIFY_SOCKET": str(manager.path), **variables}
    async with coordinator("run", "--health-tcp", "off", env=environment) as process:
        yield process


async def daemon_waits(world: World) -> None:
    """Wait until the starting daemon waits for the locked queue."""

    async def probe() -> bool:
        waiting = await world.value(
            "select count(*) from pg_stat_activity where application_name like 'coordinator %'"
            " and datname = current_database() and wait_event_type = 'Lock'"
        )
        return bool(waiting)

    await eventually(probe)
