"""What `migrate` has to do, decided from two histories and the schema's looks. No I/O."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from coordinator.core.errors import SchemaMismatch
from coordinator.store.catalog import Catalog, Snapshot
from coordinator.store.halves import Half, half_of

_SHOWN = 10
"""How many differing objects an error names."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `schema/supabase/migrations`; the version is a UTC time, YYYYMMDDHHMMSS."""

    version: str
    name: str
    text: str

    @property
    def half(self) -> Half:
        """Which half it belongs to; its name says so."""
        return half_of(self.name)

    @property
    def checksum(self) -> str:
        """Fingerprint of its text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def file_name(self) -> str:
        return f"{self.version}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that the database has had, as `coordination.migrations` holds it."""

    version: str
    name: str
    checksum: str
    skipped: bool = False
    """It was left out on purpose."""

    @property
    def file_name(self) -> str:
        return f"{self.version}_{self.name}.sql"

    @property
    def is_breaking(self) -> bool:
        """Whether older releases cannot work with what it made; its name says so."""
        return self.name.removeprefix("business_").startswith("breaking_")


class Deed(StrEnum):
    """What is to be done about a migration."""

    RUN = "run"
    ADOPT = "adopt"
    """Its objects are there: only write it into the histories."""
    SKIP = "skip"
    """It was not asked for: only note that it was left out."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration, and what is to be done about it."""

    migration: Migration
    deed: Deed


def stage(files: Sequence[Migration], reached: int) -> str | None:
    """The version of a schema that has had so many migrations; None for none."""
    return files[reached - 1].version if reached else None


def plan(
    files: Sequence[Migration],
    *,
    checksums: Sequence[Applied],
    history: Sequence[str],
    found: Snapshot,
    expected: Catalog,
) -> list[Step]:
    """List what is to be done about one half; nothing if all is there and in both histories.

    All arguments are of that half: `checksums` is our own history, without what was skipped,
    `history` our versions in the Supabase CLI's. Nothing is to be done about a schema that newer
    releases have only added to. Raise SchemaMismatch if they did more, or if the schema is not what
    the histories and files say.
    """
    is_ahead = ahead(files, checksums) is not None
    _refuse_changed(files, checksums)
    if is_ahead:
        return []  # how it looks is known to newer releases alone
    noted = _count(files, [row.version for row in checksums], "coordination.migrations")
    pushed = _count(files, history, "supabase_migrations.schema_migrations")
    there = _there(noted, pushed, expected.reached(found))
    if there is None:
        raise _not_recognised(files, max(noted, pushed), found, expected)
    adopted = [Step(file, Deed.ADOPT) for file in files[min(noted, pushed) : there]]
    return adopted + [Step(file, Deed.RUN) for file in files[there:]]


def ahead(files: Sequence[Migration], applied: Sequence[Applied]) -> str | None:
    """Return the newest version that newer releases have added; None if there is none.

    All arguments are of one half. Raise SchemaMismatch where this release cannot work with what
    they have made, or where one of its own migrations is missing beside theirs.
    """
    known = {file.version for file in files}
    newer = [row for row in applied if row.version not in known]
    breaking = next((row for row in newer if row.is_breaking), None)
    if breaking is not None:
        raise SchemaMismatch(
            "the database's schema is newer than this release can work with",
            f"it has had {breaking.file_name}",
            "Install the release that migrated it, or a later one. Migrations never go back.",
        )
    had = {row.version for row in applied}
    missing = next((file for file in files if file.version not in had), None)
    if newer and missing is not None:
        raise _left_out(missing.file_name, newer[-1].file_name, "coordination.migrations")
    return newer[-1].version if newer else None


def _there(noted: int, pushed: int, reached: int | None) -> int | None:
    """How many migrations the database has had; None if the signs contradict each other."""
    if noted and noted >= pushed:
        # Our own history is believed, even if the schema has drifted since.
        return max(noted, reached or 0)
    return reached if reached is not None and reached >= max(noted, pushed) else None


def _count(files: Sequence[Migration], versions: Sequence[str], table: str) -> int:
    """How many files a history holds; they must be the first ones, without a gap."""
    known = [file for file in files if file.version in set(versions)]
    for have, should in zip(known, files, strict=False):
        if have != should:
            raise _left_out(should.file_name, have.file_name, table)
    return len(known)


def _left_out(file_name: str, later: str, table: str) -> SchemaMismatch:
    return SchemaMismatch(
        f"migration {file_name} was left out",
        f"{table} holds {later}",
        "Restore the row of the history that was removed, or start from an empty database.",
    )


def _refuse_changed(files: Sequence[Migration], checksums: Sequence[Applied]) -> None:
    by_version = {file.version: file for file in files}
    for row in checksums:
        file = by_version.get(row.version)
        if file is not None and file.checksum != row.checksum:
            raise SchemaMismatch(
                f"migration {file.file_name} is not the file that was applied",
                "its checksum differs from the one in coordination.migrations",
                "Put the file back as it was released; a change to the schema is a new migration.",
            )


def _not_recognised(
    files: Sequence[Migration], claimed: int, found: Snapshot, expected: Catalog
) -> SchemaMismatch:
    differences = sorted(expected.differences(found), key=lambda one: one.found is None)
    shown = ", ".join(
        f"{difference.object} ({_verdict(difference.expected, difference.found)})"
        for difference in differences[:_SHOWN]
    )
    more = len(differences) - _SHOWN
    listed = shown + (f" and {more} more" if more > 0 else "")
    if claimed:
        return SchemaMismatch(
            f"the database is not what its history says after {files[claimed - 1].file_name}",
            f"compared with this release: {listed}",
            "Put right what differs. Where the history is wrong, remove our rows from"
            " supabase_migrations.schema_migrations (supabase migration repair).",
        )
    return SchemaMismatch(
        "the database holds a part of the schema, or a changed one, and no history of it",
        f"compared with this release: {listed}",
        "Put right what differs and run it again; or, where no data is worth keeping, drop schema"
        " coordination and our tables, and migrate anew.",
    )


def _verdict(expected: str | None, found: str | None) -> str:
    if found is None:
        return "missing"
    return "extra" if expected is None else "changed"
