"""A wound in the schema or in a statement, given by the mutation tests to the tests they run.

A file named by COORDINATOR_TEST_MUTATION holds it as JSON: `sql` runs on each freshly migrated
database; `old` becomes `new` in a statement file or in a function's body.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from coordinator.store.queries import Query, query
from tests.support.postgres import Connection, Database

VARIABLE = "COORDINATOR_TEST_MUTATION"


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is broken: SQL to run, and for a text its place, its old and its new words.

    The place is a statement's file (`dispatch.sql`) or a function (`coordination.take_back`);
    `nth` counts from 0 where only one of several occurrences is meant.
    """

    sql: str = ""
    place: str = ""
    old: str = ""
    new: str = ""
    nth: int | None = None

    def write(self, file: Path) -> None:
        """Keep it where a test process can read it."""
        file.write_text(json.dumps(asdict(self)))

    def edited(self, text: str) -> str:
        """Return a text with the old words replaced; raise LookupError where they are missing."""
        parts = text.split(self.old)
        if len(parts) - 1 <= (self.nth or 0):
            raise LookupError(f"{self.place} does not say {self.old!r}")
        if self.nth is None:
            return self.new.join(parts)
        before, after = parts[: self.nth + 1], parts[self.nth + 1 :]
        return self.old.join(before) + self.new + self.old.join(after)


def statement(name: str) -> Query:
    """Return one of the store's statements, wounded if that is asked."""
    wanted = query(name)
    mutation = _asked_for()
    if mutation is None or mutation.place != f"{name}.sql":
        return wanted
    return Query(wanted.name, mutation.edited(wanted.text), wanted.parameters)


async def wound(database: Database) -> None:
    """Wound a freshly migrated database, if that is asked."""
    mutation = _asked_for()
    if mutation is None or mutation.place.endswith(".sql"):
        return
    async with database.connect() as connection:
        if mutation.place:
            await _edit_function(connection, mutation)
        if mutation.sql:
            await connection.execute(mutation.sql)


async def _edit_function(connection: Connection, mutation: Mutation) -> None:
    text = await connection.fetchval("select pg_get_functiondef($1::regproc)", mutation.place)
    await connection.execute(mutation.edited(text))


def _asked_for() -> Mutation | None:
    file = os.environ.get(VARIABLE)
    return Mutation(**json.loads(Path(file).read_text())) if file else None
