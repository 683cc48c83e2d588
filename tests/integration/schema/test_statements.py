"""The store's statements: each prepares against the schema, says what it does, and is used."""

import re
from pathlib import Path

import pytest

import coordinator
from coordinator.store.queries import names
from tests.integration.schema.mutation import statement
from tests.integration.schema.world import World

SOURCES = Path(coordinator.__file__).parent
ELSEWHERE = ("migration_", "business_")
"""How statements begin that no schema of the coordination half has to know."""


@pytest.mark.matrix
@pytest.mark.parametrize("name", [n for n in names() if not n.startswith(ELSEWHERE)])
async def test_a_statement_prepares_against_the_schema(world: World, name: str) -> None:
    prepared = await world.connection.prepare(statement(name).text)

    assert len(prepared.get_parameters()) == len(statement(name).parameters)


@pytest.mark.parametrize("name", names())
def test_a_statement_says_what_it_does(name: str) -> None:
    text = (SOURCES / "store" / "sql" / f"{name}.sql").read_text()

    assert text.startswith("-- ")
    assert text.splitlines()[0].rstrip(".").count(" ") > 4


@pytest.mark.parametrize("name", names())
def test_a_statement_is_used(name: str) -> None:
    quoted = re.compile(rf"""["']{name}["']""")

    assert any(quoted.search(file.read_text()) for file in SOURCES.rglob("*.py"))
