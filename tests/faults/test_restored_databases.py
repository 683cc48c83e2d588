"""A database restored from a dump into another cluster, whose transaction ids begin again."""

import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.daemon.daemons import event_numbers, leader
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database, chosen_binaries
from tests.support.processes import RunningProcess


@pytest.fixture
async def other_database(own_cluster: Cluster) -> AsyncIterator[Database]:
    """An empty database on a second server."""
    async with own_cluster.database(template="template1") as database:
        yield database


async def test_what_was_logged_before_the_dump_is_not_logged_again(
    database: Database, world: World, other_database: Database, tmp_path: Path
) -> None:
    async with leader(database) as process:
        await world.execute("select pg_current_xact_id() from generate_series(1, 3)")
        for name in ("ada", "bob"):
            await world.agent(name)
        await world.handoff("ada")
        await process.seen("handoff.dispatched")
        await drained(process)
    await world.handoff("bob")
    dumped = await last_number(world)

    restore(database, other_database, tmp_path)

    async with leader(other_database) as restored, World.on(other_database) as there:
        await restored.seen("tail.reset")
        handoff_id = await there.handoff("nobody")
        await restored.seen("handoff.queued", handoff_id=str(handoff_id))

        numbers = event_numbers(restored)
    assert [number for number in numbers if number <= dumped] == [dumped]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > dumped


async def test_work_goes_on_in_the_restored_database(
    database: Database, world: World, other_database: Database, tmp_path: Path
) -> None:
    await world.agent("ada")
    handoff_id = await world.handoff("ada")

    restore(database, other_database, tmp_path)

    async with leader(other_database) as restored:
        await restored.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_the_restored_cursor_serves_from_then_on(
    database: Database, world: World, other_database: Database, tmp_path: Path
) -> None:
    async with leader(database) as process:
        await world.handoff("nobody")
        await process.seen("handoff.queued")
        await drained(process)
    restore(database, other_database, tmp_path)
    async with leader(other_database) as first:
        await first.seen("tail.reset")
        await drained(first)
    async with World.on(other_database) as there:
        handoff_id = await there.handoff("nobody")

    async with leader(other_database) as second:
        await second.seen("handoff.queued", handoff_id=str(handoff_id))

        assert not second.logged("tail.reset")
        assert len(event_numbers(second)) == 1


def restore(source: Database, target: Database, directory: Path) -> None:
    """Dump a database and restore it elsewhere, with the server's own programs."""
    programs = chosen_binaries().bin_dir
    if not (programs / "pg_dump").exists():
        pytest.skip("these server binaries come without pg_dump")
    dump = directory / "dump"
    run(programs / "pg_dump", "--format=custom", f"--file={dump}", f"--dbname={source.dsn}")
    run(programs / "pg_restore", "--exit-on-error", f"--dbname={target.dsn}", str(dump))


def run(program: Path, *arguments: str) -> None:
    """Run a program of PostgreSQL; it must succeed."""
    subprocess.run([program, *arguments], check=True, timeout=60, capture_output=True)


async def drained(process: RunningProcess) -> None:
    """Let a daemon end in order: it remembers all that it has logged."""
    process.kill(signal.SIGTERM)
    assert await process.wait() == 0


async def last_number(world: World) -> int:
    """The highest number of a transition so far."""
    return int(await world.value("select max(sequence) from coordination_events"))
