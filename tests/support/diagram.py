"""The entity diagram of `docs/schema.md`, from a database: `python -m tests.support.diagram`."""

from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from tests.support.postgres import Connection, Database
from tests.support.supabase import Defaults, supabase_cluster

if TYPE_CHECKING:
    from asyncpg import Record

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"
BEGIN = "<!-- The diagram is made by `make docs`; do not edit. -->\n"
END = "<!-- End of the diagram. -->\n"

LOOSE = (
    ("public.tasks", "handoff_id", "public.handoffs"),
    ("public.workspace_agents", "address", "public.agent_status"),
    ("public.handoffs", "assigned_agent", "public.agent_status"),
    ("public.handoffs", "parent_id", "public.handoffs"),
    ("public.agent_status", "current_handoff", "public.handoffs"),
    ("public.coordination_events", "handoff_id", "public.handoffs"),
)
"""Columns that name a row of another table without a foreign key, for rows may be pruned."""

_COLUMNS = """
    select c.oid::regclass::text as entity, a.attname as name,
      format_type(a.atttypid, a.atttypmod) as type,
      exists (select from pg_constraint k
        where k.conrelid = c.oid and k.contype = 'p' and a.attnum = any (k.conkey)) as primary_key,
      exists (select from pg_constraint k
        where k.conrelid = c.oid and k.contype = 'f' and a.attnum = any (k.conkey)) as foreign_key
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
    order by c.oid::regclass::text, a.attnum
"""
_KEYS = """
    select k.conrelid::regclass::text as child, k.confrelid::regclass::text as parent,
      (select bool_and(a.attnotnull) from pg_attribute a
        where a.attrelid = k.conrelid and a.attnum = any (k.conkey)) as needed,
      (select string_agg(a.attname, ', ' order by x.nth)
        from unnest(k.conkey) with ordinality x (number, nth)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.number) as columns
    from pg_constraint k
    where k.contype = 'f' and k.connamespace = 'public'::regnamespace
    order by 2, 1, 4
"""


async def diagram(connection: Connection) -> str:
    """Draw every table of schema public, its keys, and what it names without a key, as Mermaid."""
    columns = await connection.fetch(_COLUMNS)
    keys = await connection.fetch(_KEYS)
    lines = ["```mermaid", "erDiagram"]
    for child, column, parent in LOOSE:
        assert (child, column) in {("public." + row["entity"], row["name"]) for row in columns}
        lines.append(f'    {_name(parent)} |o..o{{ {_name(child)} : "{column}"')
    for key in keys:
        many = "||" if key["needed"] else "|o"
        lines.append(
            f'    {_name(key["parent"])} {many}--o{{ {_name(key["child"])} : "{key["columns"]}"'
        )
    for entity in sorted({row["entity"] for row in columns}):
        lines.append(f"    {_name(entity)} {{")
        lines += [_column(row) for row in columns if row["entity"] == entity]
        lines.append("    }")
    return "\n".join([*lines, "```", ""])


def with_diagram(page: str, drawn: str) -> str:
    """The page with this diagram in the place of the old one."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawn}\n{END}{after}"


def _name(entity: str) -> str:
    # A diagram's names hold no dot.
    return entity.removeprefix("public.").replace(".", "_")


def _column(row: "Record") -> str:
    keys = [
        word for word, is_so in (("PK", row["primary_key"]), ("FK", row["foreign_key"])) if is_so
    ]
    kind = row["type"].replace("timestamp with time zone", "timestamptz").replace(" ", "_")
    return f"        {kind} {row['name']} {', '.join(keys)}".rstrip()


async def _draw() -> str:
    async with (
        supabase_cluster() as cluster,
        Database(Defaults.CLOSED, cluster.server).connect() as connection,
    ):
        return await diagram(connection)


if __name__ == "__main__":
    PAGE.write_text(with_diagram(PAGE.read_text("utf-8"), anyio.run(_draw)), "utf-8")
