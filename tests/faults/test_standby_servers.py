"""A standby behind the DSN: named at the start; waited out when a failover is under way."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import anyio
import pytest

from coordinator.embedded import PrivateServer
from tests.integration.daemon.daemons import daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database, chosen_binaries
from tests.support.processes import coordinator
from tests.support.waiting import eventually

LEFT_WITHIN = timedelta(seconds=30)
"""A deaf listener is noticed after six seconds, and the hosts are tried again after that."""


async def test_a_standby_behind_the_dsn_is_named_in_the_error(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with (
        standby_of(own_cluster.server) as standby,
        daemon(standby.dsn(own_database.name)) as process,
    ):
        assert await process.wait(within=timedelta(seconds=10)) == 78

        assert "is a standby" in process.stderr
        assert "target_session_attrs" in process.stderr


async def test_with_both_hosts_in_the_dsn_the_daemon_finds_the_primary(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with standby_of(own_cluster.server) as standby:
        both = together(standby.dsn(own_database.name), own_database.dsn)
        async with leader(both) as process, World.on(own_database) as world:
            handoff_id = await world.handoff("nobody")
            await process.seen("handoff.queued", handoff_id=str(handoff_id))


async def test_after_a_failover_the_daemon_leads_on_the_new_primary(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with standby_of(own_cluster.server) as standby:
        both = together(own_database.dsn, standby.dsn(own_database.name))
        async with leader(both) as process:
            async with World.on(own_database) as world:
                handoff_id = await world.handoff("ada")
                await process.seen("handoff.queued", handoff_id=str(handoff_id))
                await caught_up(world)
            await own_cluster.server.stop()
            await process.seen("store.lost")

            async with World.on(Database(own_database.name, standby)) as world:
                await world.value("select pg_promote()")
                await process.seen("store.restored")
                await world.agent("ada")

                await process.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_a_primary_that_was_left_behind_is_left_for_the_new_one(
    own_cluster: Cluster, own_database: Database
) -> None:
    """It answers and takes itself for the primary, but no commit on it ever comes to its end."""
    async with standby_of(own_cluster.server) as standby:
        both = together(own_database.dsn, standby.dsn(own_database.name))
        # The servers of tests confirm what they have not written.
        await own_cluster.admin(f"alter database {own_database.name} set synchronous_commit = on")
        async with (
            leader(both) as process,
            cut_off(own_cluster),
            World.on(Database(own_database.name, standby)) as world,
        ):
            await world.value("select pg_promote()")
            await world.agent("ada")
            handoff_id = await world.handoff("ada")

            await process.seen("handoff.dispatched", handoff_id=str(handoff_id), within=LEFT_WITHIN)


async def test_whoever_follows_the_events_is_told_that_another_server_goes_on(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with standby_of(own_cluster.server) as standby:
        both = together(own_database.dsn, standby.dsn(own_database.name))
        async with coordinator("events", "--follow", "--json", env={"DATABASE_URL": both}) as shown:
            async with World.on(own_database) as world:
                before = await world.handoff("ada")
                await shown.seen("handoff.queued", handoff_id=str(before))
                await caught_up(world)
            await own_cluster.server.stop()
            async with World.on(Database(own_database.name, standby)) as world:
                await world.value("select pg_promote()")
                after = await world.handoff("ada")

                await shown.seen("handoff.queued", handoff_id=str(after))
                assert "another server goes on with the history" in shown.stderr
                assert len(shown.logged("handoff.queued")) == 2


@asynccontextmanager
async def cut_off(cluster: Cluster) -> AsyncIterator[None]:
    """Let commits on a server wait for a synchronous standby that there is not."""
    await cluster.admin(
        "alter system set synchronous_standby_names = 'ghost'", "select pg_reload_conf()"
    )
    try:
        yield
    finally:
        await cluster.admin(
            "alter system reset synchronous_standby_names", "select pg_reload_conf()"
        )


@asynccontextmanager
async def standby_of(primary: PrivateServer) -> AsyncIterator[PrivateServer]:
    """Run a streaming standby of a server."""
    binaries = chosen_binaries()
    copy = binaries.bin_dir / "pg_basebackup"
    if not copy.exists():
        pytest.skip("these server binaries come without pg_basebackup")
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        directory = Path(name, "standby")
        directory.mkdir(mode=0o700)
        data = directory / "data"
        await anyio.run_process(
            [copy, "-d", primary.dsn(), "-D", data, "-R", "--checkpoint=fast", "--no-sync"]
        )
        give_away(data, primary.directory / "data")
        async with PrivateServer.start(
            directory, binaries, settings=primary.settings, durable=False
        ) as server:
            yield server


def give_away(tree: Path, like: Path) -> None:
    """Let everything in a tree belong to whom something else belongs."""
    owner = like.stat()
    if owner.st_uid == os.geteuid():
        return
    for path in [tree, *tree.rglob("*")]:
        shutil.chown(path, owner.st_uid, owner.st_gid)


def together(first: str, second: str) -> str:
    """Put two servers into one DSN that wants the primary of them."""
    hosts = [parse_qs(urlsplit(dsn).query)["host"][0] for dsn in (first, second)]
    path = urlsplit(first).path
    return (
        f"postgresql://postgres@{path}?host={quote(','.join(hosts), safe='/,')}"
        "&port=5432,5432&target_session_attrs=primary"
    )


async def caught_up(world: World) -> None:
    """Wait until the standby has everything that was committed."""

    async def probe() -> bool:
        return bool(
            await world.value(
                "select bool_and(replay_lsn >= pg_current_wal_lsn()) from pg_stat_replication"
            )
        )

    await eventually(probe)
