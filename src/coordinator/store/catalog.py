"""What the schema looks like in a database, and what it should look like after each migration.

A snapshot words every object of ours (tables, columns, constraints, indexes, triggers, functions,
grants …) alike on PostgreSQL 15 to 18, whoever owns it and whichever way it was put there. Its
digest tells how far a schema without a history has got. Each half of the schema has a catalog of
its own, so that one looks the same with and without the other; `catalog_<half>.json`, written by
`python -m coordinator.store.catalog_file`, holds what the migrations of this release make.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from coordinator.store.connection import Connection
from coordinator.store.halves import Half

ROLES = (
    "coordinator_agent",
    "coordinator_bound_agent",
    "coordinator_daemon",
    "coordinator_plain_agent",
)
# Supabase's HTTP roles: nothing of ours is for them, yet old projects open every new table to them.
STRANGERS = ("anon", "authenticated")
_GRANTEES: Mapping[Half, tuple[str, ...]] = {
    Half.COORDINATION: (*ROLES, *STRANGERS),
    Half.BUSINESS: (*ROLES, *STRANGERS, "service_role"),
}


@dataclass(frozen=True, slots=True, order=True)
class CatalogObject:
    """One object: its kind, the object it is a part of (or empty), and its name."""

    kind: str
    parent: str
    name: str

    def __str__(self) -> str:
        """Name it as a person would."""
        return f"{self.kind} {self.name}" + (f" on {self.parent}" if self.parent else "")


Snapshot = Mapping[CatalogObject, str]
"""The definition of every object, worded by PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that is not as it should be; None stands for an object that is not there."""

    object: CatalogObject
    expected: str | None
    found: str | None


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the migrations make: the digest after each, and every object after the last."""

    public_names: tuple[str, ...]
    """What is ours in schema public; the rest is none of our business."""
    digests: Mapping[str, str]
    """The digest after each migration, by its version, in order."""
    objects: Snapshot

    def reached(self, found: Snapshot) -> int | None:
        """How many migrations a schema has had, told by its looks; None if it looks like no stage.

        Nothing of ours is stage 0.
        """
        stages = ["", *self.digests.values()]
        now = digest(found) if found else ""
        return stages.index(now) if now in stages else None

    def differences(self, found: Snapshot) -> list[Difference]:
        """Compare with what should be there after the last migration.

        What is missing or extra as a whole is listed without its parts.
        """
        every = {*self.objects, *found}
        changed = {key for key in every if self.objects.get(key) != found.get(key)}
        wholes = {
            name
            for key in changed
            if (key in self.objects) != (key in found)
            for name in (key.name, str(key))
        }
        return [
            Difference(key, self.objects.get(key), found.get(key))
            for key in sorted(changed)
            if key.parent not in wholes
        ]

    def to_json(self) -> str:
        """Write it with one object a line, so that a change of the schema reads well in a diff."""
        rows = [
            [key.kind, key.parent, key.name, text] for key, text in sorted(self.objects.items())
        ]
        lines = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in rows)
        names = ",\n    ".join(json.dumps(name) for name in self.public_names)
        stages = ",\n    ".join(f'"{version}": "{text}"' for version, text in self.digests.items())
        return (
            f'{{\n  "digests": {{\n    {stages}\n  }},\n'
            f'  "public_names": [\n    {names}\n  ],\n  "objects": [\n    {lines}\n  ]\n}}\n'
        )


def file_name(half: Half) -> str:
    """The file that holds the catalog of a half, beside this one."""
    return f"catalog_{half.value}.json"


@cache
def expected_catalog(half: Half) -> Catalog:
    """Return what this release's migrations of a half make."""
    text = resources.files(__package__).joinpath(file_name(half)).read_text("utf-8")
    read = json.loads(text)
    return Catalog(
        public_names=tuple(read["public_names"]),
        digests=read["digests"],
        objects=dict(_objects(read["objects"])),
    )


async def snapshot(
    connection: Connection, half: Half, *, public_names: Sequence[str] | None = None
) -> Snapshot:
    """Read one half of the schema as it is.

    In schema public the half owns `public_names`, or what this release's catalog says.
    """
    if public_names is None:
        public_names = expected_catalog(half).public_names
    async with connection.transaction() as tx:
        await tx.run("schema_settings")
        rows = await tx.run(
            "schema_catalog",
            schema=half.private_schema,
            other_schemas=[other.private_schema for other in Half if other is not half],
            public_names=list(public_names),
            grantees=list(_GRANTEES[half]),
        )
    return dict(_objects([tuple(row) for row in rows]))


def digest(found: Snapshot) -> str:
    """Fingerprint of a snapshot: equal exactly when every definition is."""
    lines = (f"{key.kind}\0{key.parent}\0{key.name}\0{text}" for key, text in sorted(found.items()))
    return hashlib.sha256("\0\0".join(lines).encode()).hexdigest()


def _objects(rows: list[tuple[str, str, str, str]]) -> Iterator[tuple[CatalogObject, str]]:
    for kind, parent, name, definition in rows:
        yield CatalogObject(kind, parent, name), definition
