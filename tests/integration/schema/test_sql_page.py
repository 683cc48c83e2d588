"""docs/sql.md tells the truth: its examples run, and it names what there is and nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from coordinator.core.errors import Refusal
from tests.integration.schema.test_privileges import ON_TABLES, PLAIN
from tests.integration.schema.world import World

PAGE = (Path(__file__).parents[3] / "docs" / "sql.md").read_text()
HELD = "select id from handoffs where assigned_agent = $1 and status = 'in_progress'"
TYPES = {"timestamp with time zone": "timestamptz"}
PLAIN_COLUMNS = {
    (name, right): ON_TABLES[f"public.{name}"][PLAIN][right]
    for name in ("agent_status", "handoffs")
    for right in ("insert", "update")
}


def section(title: str) -> str:
    """The page's text below a heading, up to the next of its kind."""
    level = title.split()[0]
    _, _, below = PAGE.partition(f"\n{title}\n")
    return re.split(rf"^{level} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> list[list[str]]:
    """The cells of a section's first table, without its head."""
    lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def filled_in(block: str, values: Mapping[str, object]) -> str:
    """Put in values as psql does."""
    return re.sub(r":'(\w+)'", lambda name: f"'{values[name[1]]}'", block)


async def test_the_examples_run_one_after_the_other(world: World) -> None:
    incarnation = uuid4()
    for block in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL):
        values = {
            "incarnation": incarnation,
            "handoff": await world.value(HELD, "trae"),
            "codex_handoff": await world.value(HELD, "codex"),
        }
        await world.execute(filled_in(block, values))
        await world.dispatch("trae", "codex", "reviewer")

    rows = await world.rows("select outcome, result from handoffs order by position")
    assert [tuple(row) for row in rows] == [
        ("succeeded", {"comments": 3}),
        ("succeeded", {"commit": "abc"}),
        (None, None),
    ]


@pytest.mark.parametrize(
    "name", ["handoffs", "agent_status", "coordination_events", "coordination_settings"]
)
async def test_the_columns_of_a_table_are_all_there(world: World, name: str) -> None:
    rows = await world.rows(
        "select attname, format_type(atttypid, null) from pg_attribute"
        " where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum",
        name,
    )

    told = [(cells[0].strip("`"), cells[1]) for cells in table(section(f"### `{name}`"))]
    assert told == [(row[0], TYPES.get(row[1], row[1])) for row in rows]


@pytest.mark.parametrize(("name", "right"), PLAIN_COLUMNS)
def test_the_marks_are_the_grants_of_a_plain_agent(name: str, right: str) -> None:
    rows = table(section(f"### `{name}`"))

    marked = {cells[0].strip("`") for cells in rows if right[0] in cells[2].strip("*").split()}
    assert marked == PLAIN_COLUMNS[name, right]


async def test_the_functions_are_all_there_with_their_parameters(world: World) -> None:
    rows = await world.rows(
        "select proname, proargnames[1:pronargs] from pg_proc"
        " where pronamespace = 'public'::regnamespace"
    )

    cells = [row[0].strip("`") for row in table(section("## An agent by functions"))]
    told = {cell.partition("(")[0]: cell.partition("(")[2].rstrip(")") for cell in cells}
    assert told == {row[0]: ", ".join(row[1]) for row in rows}


def test_the_errors_are_all_there() -> None:
    assert [row[0].strip("`") for row in table(section("## Errors"))] == list(Refusal)
