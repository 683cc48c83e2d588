"""docs/business.md tells the truth: its SQL runs as the service role, its table is true."""

import re
from pathlib import Path

import pytest

from tests.integration.business.test_workspaces import create
from tests.integration.schema.test_sql_page import filled_in
from tests.support.postgres import Connection
from tests.support.supabase import acting, sign_up

PAGE = (Path(__file__).parents[3] / "docs" / "business.md").read_text()
TASK = "insert into tasks (workspace_id, title) values ($1, 'Write it') returning id"


async def test_the_examples_run_one_after_the_other(admin: Connection) -> None:
    owner = await sign_up(admin, "olga")
    workspace = await create(admin, owner, "Acme")
    values = {"workspace": workspace, "task": await admin.fetchval(TASK, workspace)}

    for block in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL):
        async with acting(admin, "service_role"):
            await admin.execute(filled_in(block, values))

    assert await admin.fetchval("select to_agent from handoffs") == "reviewer"


@pytest.mark.parametrize(
    ("table", "columns"),
    [("users", {"full_name", "avatar_url"}), ("workspaces", {"name", "slug"})],
)
async def test_what_the_page_lets_people_change_is_what_is_granted(
    admin: Connection, table: str, columns: set[str]
) -> None:
    [line] = re.findall(rf"^\| `{table}` \|(.*)\|$", PAGE, re.MULTILINE)

    granted = await admin.fetch(
        "select column_name from information_schema.column_privileges"
        " where table_name = $1 and grantee = 'authenticated' and privilege_type = 'UPDATE'",
        table,
    )

    assert {row[0] for row in granted} == columns
    assert all(f"`{column}`" in line for column in columns)
