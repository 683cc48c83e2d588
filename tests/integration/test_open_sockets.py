"""What we listen on, as the kernel tells it: loopback, private unix sockets, and nothing else."""

import stat
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.config import Settings
from tests.integration.daemon.daemons import leader
from tests.support.postgres import Database
from tests.support.processes import coordinator, running
from tests.support.sockets import Listening, listening_sockets
from tests.support.waiting import eventually

AGENT = """
import sys, anyio
from coordinator.agents import Agent
async def main():
    async with Agent.connect(sys.argv[1], "ada"):
        print('{"event": "ready"}', flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


def test_by_default_the_daemon_listens_on_loopback_alone() -> None:
    assert Settings.load({}).health_tcp.startswith("127.0.0.1:")
    assert Settings.load({}).health_socket is None


async def test_a_daemon_listens_where_it_was_told_and_nowhere_else(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "health"
    async with leader(database, health_tcp="localhost:0", health_socket=str(path)) as process:
        found = listening_sockets(process.pid)

    assert {each.kind for each in found} <= {"tcp", "tcp6", "unix"}
    assert Listening("unix", str(path)) in found
    assert Listening("tcp", "127.0.0.1") in found
    assert all(each.is_private for each in found)


async def test_a_daemon_without_health_listens_nowhere(database: Database) -> None:
    async with leader(database) as process:
        assert listening_sockets(process.pid) == set()


async def test_a_daemon_that_was_told_so_is_seen_from_outside(database: Database) -> None:
    """The look itself: it does find what is open to everybody."""
    async with leader(database, health_tcp="0.0.0.0:0") as process:
        assert listening_sockets(process.pid) == {Listening("tcp", "0.0.0.0")}


async def test_an_agent_listens_nowhere(database: Database) -> None:
    async with running([sys.executable, "-c", AGENT, database.dsn]) as process:
        await process.seen("ready")

        assert listening_sockets(process.pid) == set()


async def test_a_following_command_listens_nowhere(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("select from register_agent('ada', gen_random_uuid())")
    env = {"DATABASE_URL": database.dsn}
    async with coordinator("events", "--follow", "--since", "0", env=env) as process:

        async def has_begun() -> bool:
            return "agent.registered" in process.stdout

        await eventually(has_begun)

        assert listening_sockets(process.pid) == set()


@pytest.mark.slow
async def test_a_private_server_and_its_daemon_are_reached_by_their_owner_alone() -> None:
    with tempfile.TemporaryDirectory(prefix="dev-") as place:
        async with coordinator("dev", cwd=Path(place)) as process:

            async def is_ready() -> bool:
                return "daemon.ready" in process.stdout

            await eventually(is_ready, within=timedelta(seconds=30))

            found = listening_sockets(process.pid)

            assert {each.kind for each in found} == {"unix"}
            assert len(found) >= 2
            for each in found:
                folder = Path(each.where).parent.stat()
                assert stat.S_IMODE(folder.st_mode) == 0o700
