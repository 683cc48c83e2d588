"""Bring a database's schema up to this release, whichever of three ways put its beginning there.

Two histories tell what a database has had. `coordination.migrations` is ours and holds checksums;
`supabase_migrations.schema_migrations` is the Supabase CLI's, shared so that `supabase db push` and
this module agree. `psql -f` writes neither, the CLI only its own: then the schema's looks decide
(see `catalog`), and what is there is adopted into both. Each file runs in one transaction with its
rows in both histories, so that a kill at any instant leaves a file done and noted, or not begun.

The schema has two halves (see `halves`). Coordination is always applied. Business is applied where
it was asked for, now or ever; elsewhere its files are noted in our own history as skipped.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import anyio
import asyncpg
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random

from coordinator.core.errors import (
    ConfigError,
    RequestRefused,
    SchemaMismatch,
    StoreUnavailable,
)
from coordinator.store.catalog import (
    CatalogObject,
    Difference,
    Snapshot,
    expected_catalog,
    snapshot,
)
from coordinator.store.connection import Connection
from coordinator.store.halves import Half, half_of
from coordinator.store.migration_plan import (
    Applied,
    Deed,
    Migration,
    Step,
    ahead,
    plan,
    stage,
)
from coordinator.store.passes import check_server
from coordinator.store.queries import query

OLDEST_SERVER = 150000
"""The oldest `server_version_num` that the schema runs on."""

_FILE_NAME = re.compile(r"(\d{14})_([a-z0-9_]+)\.sql")
# Any number will do, as long as it is no other lock's of ours.
_LOCK = 0x636F6F72646D6967
_LOOK_AGAIN = timedelta(seconds=0.2)
_LOCK_WAIT = timedelta(minutes=1)
_TABLES_WAIT = timedelta(seconds=10)
_MIGRATE = "Run coordinator migrate, or check the database's name in the DSN."
_LOOK = "Run coordinator doctor to see what differs."
_NO_TABLE = frozenset({"42P01", "3F000"})
# Nobody else has it: tables of the same names as ours may be a user's own.
_LANDMARK = CatalogObject("index", "public.tasks", "one_task_per_handoff")


class SchemaState(StrEnum):
    """How a database's schema stands to the one this release needs."""

    OK = "ok"
    MISSING = "missing"
    """Nothing of ours is there."""
    OLDER = "older"
    """`coordinator migrate` will bring it up."""
    AHEAD = "ahead"
    """A newer release has only added to it: this one can work with it."""
    UNKNOWN = "unknown"
    """It has no history of ours, and looks like no stage of it."""


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """Where a schema stands, in versions of migrations; None: it has had none, or nobody knows."""

    state: SchemaState
    found: str | None
    needed: str


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What `migrate` did, or would do; no steps: the schema was up to date."""

    steps: tuple[Step, ...]
    dry_run: bool
    version: str
    """The version that the coordination half has afterwards."""
    ahead: str | None
    """The newest version that newer releases have added, in either half; None if there is none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a database tells of one half."""

    half: Half
    checksums: Sequence[Applied]
    """By our own history, without what was skipped."""
    skipped: frozenset[str]
    history: Sequence[str]
    """By the Supabase CLI's."""
    found: Snapshot

    @property
    def installed(self) -> bool:
        """Whether it is there, or should be: the coordination half always should."""
        begun = self.checksums or self.history or _LANDMARK in self.found
        return self.half is Half.COORDINATION or bool(begun)

    @property
    def ahead(self) -> str | None:
        """The newest version that newer releases have added; raise as `migration_plan.ahead`."""
        return ahead(migrations(self.half), self.checksums)

    def drift(self) -> list[Difference]:
        """Compare it with what this release's migrations make; it must not be ahead of that."""
        return expected_catalog(self.half).differences(self.found)


def migrations(half: Half) -> list[Migration]:
    """Return this release's migrations of a half, oldest first, from the wheel or the tree."""
    found = [
        Migration(match[1], match[2], file.read_text("utf-8").replace("\r\n", "\n"))
        for file in _folder().iterdir()
        if (match := _FILE_NAME.fullmatch(file.name)) and half_of(match[2]) is half
    ]
    return sorted(found, key=lambda migration: migration.version)


async def migrate(
    connection: Connection,
    *,
    business: bool | None = None,
    dry_run: bool = False,
    lock_wait: timedelta = _LOCK_WAIT,
) -> MigrationReport:
    """Apply what is missing and adopt what is there without a history; one at a time.

    `connection` must be outside any transaction-mode pooler, and should allow a statement minutes
    rather than seconds. `business` says whether the business half is wanted; None keeps what is
    there. `dry_run` changes nothing. Raise SchemaMismatch if the schema is not what its history
    says, or is newer than this release can work with; ConfigError for a server that is too old or a
    standby, or where the business half cannot be had or left out as asked; StoreUnavailable if
    another migrator is at work for longer than `lock_wait`.
    """
    await _check_server(connection)
    if dry_run:
        found = await standings(connection)
        steps = await pending_steps(connection, found, business=business)
        return _report(found, steps, dry_run=True)
    async with _alone(connection, lock_wait):
        found = await standings(connection)
        steps = await pending_steps(connection, found, business=business)
        for step in steps:
            await _take(connection, step)
    return _report(found, steps, dry_run=False)


async def standings(connection: Connection) -> list[Standing]:
    """Ask the database's histories and its looks about each half."""
    (state,) = await connection.run("migration_state")
    # Where we may not read our own history, the refusal says so; the other one we can do without.
    rows = await connection.run("migration_checksums") if state["checksums"] is not False else []
    noted = [Applied(**row) for row in rows]
    told = []
    for half in Half:
        ours = [row for row in noted if half_of(row.name) is half]
        checksums = [row for row in ours if not row.skipped]
        history = [row.version for row in checksums]
        if state["history"] is not None:
            history = await _history(connection, migrations(half)) if state["history"] else []
        skipped = frozenset(row.version for row in ours if row.skipped)
        found = await snapshot(connection, half)
        told.append(Standing(half, checksums, skipped, history, found))
    return told


async def pending_steps(
    connection: Connection, found: Sequence[Standing], *, business: bool | None = None
) -> list[Step]:
    """List what `migrate` would do where it found this; raise as it does."""
    steps = []
    for standing in found:
        if not standing.installed:
            steps += await _begin_business(connection, standing, wanted=business)
            continue
        if standing.half is Half.BUSINESS and business is False:
            raise _cannot_leave_out()
        steps += plan(
            migrations(standing.half),
            checksums=standing.checksums,
            history=standing.history,
            found=standing.found,
            expected=expected_catalog(standing.half),
        )
    return steps


async def schema_version(connection: Connection) -> SchemaVersion:
    """Tell whether the coordination half is this release's; one query where `migrate` noted it.

    A history is believed: drift is `doctor`'s business. Raise SchemaMismatch where newer releases
    have made of it what this one cannot work with.
    """
    files = migrations(Half.COORDINATION)
    needed = files[-1].version
    try:
        rows = await connection.run("migration_checksums")
    except RequestRefused as error:
        if error.code not in _NO_TABLE:
            raise
        return SchemaVersion(SchemaState.MISSING, None, needed)
    applied = [Applied(**row) for row in rows if half_of(row["name"]) is Half.COORDINATION]
    noted = applied[-1].version if applied else None
    if newest := ahead(files, applied):
        return SchemaVersion(SchemaState.AHEAD, newest, needed)
    if noted == needed:
        return SchemaVersion(SchemaState.OK, noted, needed)
    found_now = await snapshot(connection, Half.COORDINATION)
    reached = expected_catalog(Half.COORDINATION).reached(found_now)
    if noted is None and reached is None:
        return SchemaVersion(SchemaState.UNKNOWN, None, needed)
    found = max(noted or "", stage(files, reached or 0) or "") or None
    return SchemaVersion(_compare(found, needed), found, needed)


async def require_schema(connection: Connection) -> SchemaVersion:
    """Return the schema's version; raise SchemaMismatch unless this release can work with it."""
    try:
        version = await schema_version(connection)
    except RequestRefused as error:
        raise ConfigError(
            "the coordinator's schema cannot be read",
            error.what,
            "Let the owner grant coordinator_daemon to this login.",
        ) from error
    trouble = {
        SchemaState.MISSING: ("is missing", "the database holds nothing of ours", _MIGRATE),
        SchemaState.OLDER: ("is too old", f"it is at {version.found}", _MIGRATE),
        SchemaState.UNKNOWN: ("is not ours as released", "it has no history", _LOOK),
    }.get(version.state)
    if trouble is not None:
        what, why, fix = trouble
        raise SchemaMismatch(
            f"the coordinator's schema {what}", f"{why}; this release needs {version.needed}", fix
        )
    return version


async def _begin_business(
    connection: Connection, standing: Standing, *, wanted: bool | None
) -> list[Step]:
    """What to do about a business half that is not there."""
    files = migrations(Half.BUSINESS)
    if not wanted:
        return [Step(file, Deed.SKIP) for file in files if file.version not in standing.skipped]
    (supabase,) = await connection.run("supabase_parts")
    if supabase["missing"]:
        raise ConfigError(
            "the business half needs a Supabase project",
            f"this database has no {', '.join(supabase['missing'])}",
            "Leave --business out: the coordination half stands alone. Or check the DSN.",
        )
    if standing.found:
        taken = sorted({str(one) for one in standing.found if not one.parent})
        raise ConfigError(
            "names that the business half needs are taken",
            f"the database has, and not of this release: {', '.join(taken)}",
            "Rename what is there, or leave --business out.",
        )
    return [Step(file, Deed.RUN) for file in files]


def _cannot_leave_out() -> ConfigError:
    return ConfigError(
        "the business half cannot be left out",
        "it is installed here, and migrations never go back",
        "Run coordinator migrate without --no-business: it keeps both halves up to date.",
    )


async def _history(connection: Connection, files: Sequence[Migration]) -> list[str]:
    rows = await connection.run("migration_history", versions=[file.version for file in files])
    return [row["version"] for row in rows]


def _compare(found: str | None, needed: str) -> SchemaState:
    if found is None:
        return SchemaState.MISSING
    return SchemaState.OK if found == needed else SchemaState.OLDER


def _folder() -> Traversable:
    packaged = resources.files("coordinator").joinpath("migrations")
    if packaged.is_dir():
        return packaged
    return Path(__file__).parents[3] / "schema" / "supabase" / "migrations"


async def _check_server(connection: Connection) -> None:
    server = await check_server(connection)
    if server.version < OLDEST_SERVER:
        raise ConfigError(
            f"PostgreSQL {server.version_text} is too old",
            fix="The schema needs PostgreSQL 15 or newer.",
        )
    if server.standby:
        raise ConfigError(
            "the server is a standby",
            "nothing can be written there",
            "Point the DSN at the primary; target_session_attrs=primary finds it among several.",
        )


@asynccontextmanager
async def _alone(connection: Connection, lock_wait: timedelta) -> AsyncIterator[None]:
    try:
        with anyio.fail_after(lock_wait.total_seconds()):
            await _lock(connection)
    except TimeoutError:
        raise StoreUnavailable(
            "another migration of this database is at work",
            f"it has held the lock for {lock_wait.total_seconds():g} s",
            "Wait for it; pg_locks shows its process (locktype advisory).",
        ) from None
    try:
        yield
    finally:
        # A lost connection has let go already.
        with anyio.CancelScope(shield=True), suppress(StoreUnavailable):
            await connection.run("migration_unlock", key=_LOCK)


async def _lock(connection: Connection) -> None:
    while True:
        (row,) = await connection.run("migration_lock", key=_LOCK)
        if row["got"]:
            return
        await anyio.sleep(_LOOK_AGAIN.total_seconds())


async def _take(connection: Connection, step: Step) -> None:
    """Run and note, or only note, one migration, in one transaction."""
    migration = step.migration
    await connection.run(
        "migration_announce",
        migration={
            "version": migration.version,
            "name": migration.name,
            "checksum": migration.checksum,
            "statements": migration.text.rstrip().removesuffix(";"),
        },
    )
    try:
        await _when_nobody_is_in_the_way(connection, _script(step))
    except (RequestRefused, asyncpg.PostgresError) as error:
        raise SchemaMismatch(
            f"migration {migration.file_name} cannot be applied",
            f"{error}; nothing of it was kept",
            "Migrate as the owner of the database, with the right to create roles."
            if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError)
            else "Run coordinator doctor to see what is in its way.",
        ) from error


async def _when_nobody_is_in_the_way(connection: Connection, script: str) -> None:
    """Run it, and again where others held what it needs; each try gives way to them soon."""
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_in_the_way),
        stop=stop_after_delay(_TABLES_WAIT),
        wait=wait_random(0.1, 0.5),
        sleep=anyio.sleep,
        reraise=True,
    )
    await retrying(connection.execute, script)


def _is_in_the_way(error: BaseException) -> bool:
    held = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
    return isinstance(error, StoreUnavailable) and isinstance(error.__cause__, held)


def _script(step: Step) -> str:
    if step.deed is Deed.SKIP:
        return query("migration_record_skipped").text
    text = step.migration.text if step.deed is Deed.RUN else ""
    # Coordination is never left out, and its first files come before the column that would say so.
    unskip = [query("migration_unskip").text] if step.migration.half is Half.BUSINESS else []
    return ";\n".join(
        (
            query("migration_begin").text,
            query("migration_make_history").text,
            text.rstrip().removesuffix(";"),
            *unskip,
            query("migration_record").text,
        )
    )


def _report(found: Sequence[Standing], steps: Sequence[Step], *, dry_run: bool) -> MigrationReport:
    [coordination] = [standing for standing in found if standing.half is Half.COORDINATION]
    version = coordination.ahead or migrations(Half.COORDINATION)[-1].version
    newest = max((standing.ahead or "" for standing in found), default="")
    return MigrationReport(tuple(steps), dry_run, version, newest or None)
