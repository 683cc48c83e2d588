"""Two daemons restarted in turn under load, and upgraded past a migration: nothing lost, no wait.

The load is that of `tests/faults`, whose checker decides whether anything was lost, doubled or
overtaken. Beside it a crew that always has somebody idle is sent a handoff every few milliseconds:
what one of those waits for its dispatch is the daemons' doing alone.

The old release is the newest commit that migrates, and whose migrations are ours without the last.
There is none in a shallow clone.
"""

import os
import random
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path

import anyio
import pytest
import pytest_asyncio

from coordinator.config import Settings
from coordinator.config.durations import shown
from coordinator.core.errors import ExitCode
from coordinator.embedded import PrivateServer
from coordinator.store.halves import Half, half_of
from coordinator.store.migrations import migrations
from tests.faults.battle import Battle
from tests.faults.blows.daemons_rolled import DaemonsRolled
from tests.faults.field import Member, Spawn
from tests.faults.ground import KEEPS_WHAT_IT_CONFIRMED, TIMINGS, Camp, durable_database, field_of
from tests.faults.seeds import SEED, SOAK
from tests.integration.daemon.daemons import daemon
from tests.integration.schema.world import World
from tests.support.commands import ended
from tests.support.postgres import Database, throw_away_server
from tests.support.processes import RunningProcess, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

RESTARTS = int(os.environ.get("COORDINATOR_TEST_RESTARTS", "100" if SOAK else "20"))
ALONE = RESTARTS >= 100
LONGEST_DELAY_S = 2.0 if ALONE else 4.0
"""Beside the short run work the tests of another worker: 2.2 s were seen at a load of 16."""
ROOT = Path(__file__).parents[2]
AS_BY_DEFAULT: Mapping[str, str] = {
    name: shown(getattr(Settings(), name))
    for name in ("leader_poll", "leader_stale_after", "safety_poll")
}
"""What decides how soon a successor leads; a restart is not to be quicker here than elsewhere."""
CREW = 200
"""More than are sent in two seconds."""
SENT_EVERY_S = 0.05
SETTLED_EVERY_S = 0.05
SOON = timedelta(seconds=30)
TRIED = 5
"""So many older commits."""
RATE = 20.0


@pytest.mark.soak
@pytest.mark.timeout(60 + 15 * RESTARTS)
async def test_rolling_restarts_lose_nothing_and_delay_no_handoff_for_long() -> None:
    chance = random.Random(f"{SEED} rolling restarts")
    async with durable_database() as database:
        camp = Camp([partial(daemon, database, TIMINGS, AS_BY_DEFAULT)] * 2, database.dsn_as)
        async with field_of(database, camp, chance, rate=RATE) as field:
            battle = Battle(field)
            await eventually(partial(all_serve, field.daemons), within=SOON)
            async with a_crew(database):
                await battle.strike_each([DaemonsRolled()], times=RESTARTS // 2)

            broken = await battle.verdict()
            delays = await field.ask(delays_s)
            sys.stdout.write(f"{2 * len(battle.strikes)} restarts, {told(delays)}\n")
            assert broken == []
            assert battle.missed == {}
            assert all(strike.proof.count("ended with 0") == 2 for strike in battle.strikes)
            assert len(delays) > RESTARTS, "too few handoffs to prove anything"
            assert max(delays) < LONGEST_DELAY_S


@pytest.mark.release
@pytest.mark.timeout(240)
async def test_a_rolling_upgrade_past_a_migration_loses_nothing_and_delays_nobody(
    old_release: "OldRelease",
) -> None:
    """Old daemons, old agents; then the migration under them; then new daemons, new agents."""
    chance = random.Random(f"{SEED} rolling upgrade")
    async with database_of(old_release) as database:
        old_daemon: Spawn = partial(old_release.daemon, database)
        camp = Camp([old_daemon] * 2, database.dsn_as, prefix=old_release.prefix)
        async with field_of(database, camp, chance, rate=RATE) as field:
            battle = Battle(field)
            await eventually(partial(all_serve, field.daemons), within=SOON)
            async with a_crew(database):
                await battle.strike_each([], times=0)  # until all are at work

                migrated = await ended("migrate", on=database)
                assert migrated.code == ExitCode.OK, migrated
                await at_work_for(database, handoffs=60)
                assert [member.lives for member in field.daemons] == [1, 1]
                for member in field.daemons:
                    member.spawn = partial(daemon, database, TIMINGS, AS_BY_DEFAULT)
                proof = await DaemonsRolled().strike(field)
                await at_work_for(database, handoffs=60)

            broken = await battle.verdict()
            delays = await field.ask(delays_s)
            sys.stdout.write(f"from {old_release}: {migrated.out}{proof}; {told(delays)}\n")
            assert broken == []
            assert proof.count("ended with 0") == 2
            assert max(delays) < LONGEST_DELAY_S


@pytest.mark.release
async def test_an_old_daemon_that_loses_its_link_after_the_migration_ends_and_the_other_takes_over(
    old_release: "OldRelease",
) -> None:
    """What the order of an upgrade rests on: one lost link does not stop the work."""
    async with (
        database_of(old_release) as database,
        old_release.daemon(database) as first,
        World.on(database) as world,
    ):
        await first.seen("daemon.ready", role="leader", within=SOON)
        async with old_release.daemon(database) as second:
            await second.seen("daemon.ready", role="standby", within=SOON)
            assert (await ended("migrate", on=database)).code == ExitCode.OK
            await world.agent("ada")

            await world.execute(
                "select pg_terminate_backend(l.pid) from pg_locks l"
                " where l.locktype = 'advisory' and l.granted"
                " and l.database = (select oid from pg_database where datname = current_database())"
            )

            assert await first.wait() == ExitCode.CONFIG, str(first)
            await second.seen("leadership.acquired")
            handoff_id = await world.handoff("ada")
            await second.seen("handoff.dispatched", handoff_id=str(handoff_id))


@pytest.mark.release
async def test_a_new_daemon_waits_for_nobody_to_migrate_and_names_the_remedy(
    old_release: "OldRelease",
) -> None:
    async with database_of(old_release) as database, daemon(database) as process:
        assert await process.wait() == ExitCode.CONFIG, str(process)
        assert "is too old" in process.stderr
        assert "coordinator migrate" in process.stderr


# --- the crew -------------------------------------------------------------------------------------


@asynccontextmanager
async def a_crew(database: Database) -> AsyncIterator[None]:
    """Send to a crew that does its work at once, until the end of the block; then let it finish."""
    async with World.on(database) as world:
        await world.execute(
            "insert into agent_status (agent_name, roles)"
            " select 'crew-' || n, '{crew}' from generate_series(1, $1) n",
            CREW,
        )
    async with anyio.create_task_group() as at_work:
        at_work.start_soon(_settle, database)
        async with anyio.create_task_group() as sending:
            sending.start_soon(_send, database)
            yield
            sending.cancel_scope.cancel()
        await eventually(partial(_has_finished, database), within=SOON)
        at_work.cancel_scope.cancel()


async def _send(database: Database) -> None:
    async with World.on(database) as world:
        while True:
            await world.handoff("crew")
            await anyio.sleep(SENT_EVERY_S)  # the rate


async def _settle(database: Database) -> None:
    async with World.on(database) as world:
        while True:
            await world.execute(
                "update handoffs set status = 'completed'"
                " where to_agent = 'crew' and status = 'in_progress'"
            )
            await world.execute(
                "update agent_status set last_seen = now()"
                " where agent_name like 'crew-%' and last_seen < now() - interval '500ms'"
            )
            await anyio.sleep(SETTLED_EVERY_S)  # the work


async def _has_finished(database: Database) -> bool:
    async with World.on(database) as world:
        return not await world.value(
            "select exists (select from handoffs where to_agent = 'crew' and finished_at is null)"
        )


async def at_work_for(database: Database, *, handoffs: int) -> None:
    """Wait until so many more of the crew's handoffs have been dispatched."""
    async with World.on(database) as world:
        before = len(await delays_s(world))

        async def enough() -> bool:
            return len(await delays_s(world)) >= before + handoffs

        await eventually(enough, within=SOON)


async def delays_s(world: World) -> list[float]:
    """How long each of the crew's handoffs waited for its dispatch, in order."""
    rows = await world.rows(
        "select (detail ->> 'waited_s')::float8 from coordination_events"
        " where event = 'handoff.dispatched' and detail ->> 'to_agent' = 'crew' order by 1"
    )
    return [row[0] for row in rows]


def told(delays: Sequence[float]) -> str:
    """The median, the ninety-ninth of a hundred, and the worst."""
    middle, high = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    return (
        f"{len(delays)} handoffs waited: median {middle:.3f} s, p99 {high:.3f} s,"
        f" worst {delays[-1]:.3f} s"
    )


async def all_serve(daemons: Sequence[Member]) -> bool:
    """Whether each of them is ready."""
    return all(one.process and one.process.logged("daemon.ready") for one in daemons)


# --- the old release ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OldRelease:
    """The project as an older commit has it; its dependencies are today's."""

    commit: str
    tree: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that is to run its code, or that of its load."""
        return ("env", f"--chdir={self.tree}", f"PYTHONPATH={self.tree / 'src'}")

    def daemon(self, database: Database) -> AbstractAsyncContextManager[RunningProcess]:
        """Run its daemon."""
        chosen = {"health_tcp": "off", "log_format": "json", **TIMINGS, **AS_BY_DEFAULT}
        return self.run(database, "run", **chosen)

    def run(
        self, database: Database, command: str, **settings: str
    ) -> AbstractAsyncContextManager[RunningProcess]:
        """Run one of its commands."""
        env = {f"COORDINATOR_{name.upper()}": value for name, value in settings.items()}
        return running(
            [*self.prefix, sys.executable, "-m", "coordinator", command],
            env={"DATABASE_URL": database.dsn, **env},
        )

    def __str__(self) -> str:
        return self.commit[:7]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def old_release(tmp_path_factory: pytest.TempPathFactory) -> OldRelease:
    """The newest one that migrates, and whose schema is older than today's.

    A commit in the midst of a work may not even migrate: nobody has released that.
    """
    async with throw_away_server() as server:
        for commit in islice(_older_commits(), TRIED):
            release = _unpacked(commit, tmp_path_factory.mktemp("old-release"))
            if await _migrates(release, server):
                return release
    pytest.skip("needs the history of the repository: git fetch --unshallow")


async def _migrates(release: OldRelease, server: PrivateServer) -> bool:
    name = f"release_{release}"
    async with Database("postgres", server).connect() as connection:
        await connection.execute(f"create database {name}")
    async with release.run(Database(name, server), "migrate") as process:
        return await process.wait(within=SOON) == ExitCode.OK


def _unpacked(commit: str, tree: Path) -> OldRelease:
    archive = subprocess.run(
        ["git", "archive", commit, "src", "schema", "tests"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as packed:
        packed.extractall(tree, filter="data")
    return OldRelease(commit, tree)


def _older_commits() -> Iterator[str]:
    """Those whose migrations are ours without the last ones, newest first."""
    ours = {(file.file_name, file.text) for file in migrations(Half.COORDINATION)}
    for commit in _git("rev-list", "--first-parent", "HEAD").split():
        theirs = _migrations_at(commit)
        if theirs and theirs < ours:
            yield commit


def _migrations_at(commit: str) -> set[tuple[str, str]]:
    folder = "schema/supabase/migrations/"
    files = _git("ls-tree", "--name-only", commit, folder).split()
    names = [Path(file).name for file in files if file.endswith(".sql")]
    return {
        (name, _git("show", f"{commit}:{folder}{name}"))
        for name in names
        if half_of(name.partition("_")[2]) is Half.COORDINATION
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return done.stdout.decode() if done.returncode == 0 else ""


@asynccontextmanager
async def database_of(release: OldRelease) -> AsyncIterator[Database]:
    """A database on a server of its own, migrated by the old release."""
    async with throw_away_server(settings=KEEPS_WHAT_IT_CONFIRMED) as server:
        yield await _migrated_by(release, server)


async def _migrated_by(release: OldRelease, server: PrivateServer) -> Database:
    async with Database("postgres", server).connect() as connection:
        await connection.execute("create database battle")
    database = Database("battle", server)
    async with release.run(database, "migrate") as process:
        assert await process.wait(within=SOON) == ExitCode.OK, str(process)
    return database
