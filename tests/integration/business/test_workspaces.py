"""People, workspaces and members: what holds by itself, whoever writes."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from tests.support.postgres import Connection, Database
from tests.support.supabase import OWNER, acting, migrate_both, sign_up


async def test_a_sign_up_makes_a_row_with_what_the_person_told(admin: Connection) -> None:
    ada = await sign_up(admin, "ada", full_name="Ada L.", avatar_url="https://example.com/a.png")

    assert await person(admin, ada) == ("Ada L.", "https://example.com/a.png", "member")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"name": "Ada"}, "Ada"),
        ({"full_name": None}, None),
        ({"full_name": "x" * 5000}, "x" * 200),
        ({"full_name": {"a": 1}}, '{"a": 1}'),
        ({"role": "admin"}, None),
    ],
)
async def test_whatever_a_person_tells_the_sign_up_succeeds_as_a_member(
    admin: Connection, told: dict[str, object], name: str | None
) -> None:
    ada = await sign_up(admin, "ada", **told)

    assert (await person(admin, ada))[::2] == (name, "member")


@pytest.mark.parametrize(
    "harm",
    [
        "alter table public.users add column needed text not null",
        "alter table public.users rename to people",
        "revoke all on public.users from supabase_owner",
        "drop function agency.ensure_user",
    ],
)
async def test_no_failure_on_our_side_blocks_a_sign_up(admin: Connection, harm: str) -> None:
    await admin.execute(harm)

    ada = await sign_up(admin, "ada")

    assert await admin.fetchval("select email from auth.users where id = $1", ada)


async def test_a_lock_on_the_users_holds_a_sign_up_for_a_moment(
    admin: Connection, project: Database
) -> None:
    async with project.connect() as other, other.transaction():
        await other.execute("lock table public.users")

        async with asyncio.timeout(10):
            ada = await sign_up(admin, "ada")

    assert await admin.fetchval("select count(*) from auth.users") == 1
    assert await admin.fetchval("select count(*) from public.users where id = $1", ada) == 0


async def test_a_row_that_a_sign_up_did_not_get_is_made_up_for(admin: Connection) -> None:
    ada, bob, carl = [await sign_up(admin, name) for name in ("ada", "bob", "carl")]
    await admin.execute("delete from public.users")

    workspace = await create(admin, ada, "Acme")
    await join(admin, workspace, bob)
    await admin.execute("update workspaces set owner_id = $1", carl)

    assert await members(admin, workspace) == {(ada, "member"), (bob, "member"), (carl, "owner")}


async def test_people_who_signed_up_before_get_their_rows(bare_project: Database) -> None:
    async with bare_project.connect() as admin:
        ada = await sign_up(admin, "ada", full_name="Ada L.")
        async with bare_project.connect(user=OWNER) as owner:
            await migrate_both(owner)

        assert (await person(admin, ada))[0] == "Ada L."


async def test_a_deleted_account_takes_its_row_and_memberships_along(admin: Connection) -> None:
    ada, bob = await sign_up(admin, "ada"), await sign_up(admin, "bob")
    workspace = await create(admin, ada, "Acme")
    await join(admin, workspace, bob)
    task = await admin.fetchval(
        "insert into tasks (workspace_id, title, assignee_id) values ($1, 'write', $2)"
        " returning id",
        workspace,
        bob,
    )

    await admin.execute("delete from auth.users where id = $1", bob)

    assert await members(admin, workspace) == {(ada, "owner")}
    assert await admin.fetchval("select assignee_id from tasks where id = $1", task) is None


async def test_the_account_of_an_owner_stays_until_the_workspace_has_another(
    admin: Connection,
) -> None:
    ada, bob = await sign_up(admin, "ada"), await sign_up(admin, "bob")
    workspace = await create(admin, ada, "Acme")

    with pytest.raises(asyncpg.ForeignKeyViolationError, match="workspaces_owner_id_fkey"):
        await admin.execute("delete from auth.users where id = $1", ada)

    await admin.execute("update workspaces set owner_id = $1", bob)
    assert await members(admin, workspace) == {(ada, "member"), (bob, "owner")}
    await admin.execute("delete from auth.users where id = $1", ada)
    assert await members(admin, workspace) == {(bob, "owner")}


# Slugs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme", "acme"),
        ("  Acme & Sons, Ltd.  ", "acme-sons-ltd"),
        ("Zoë's Café", "zoe-s-cafe"),
        ("Straße Øst", "strasse-ost"),
        ("ÉCOLE Ünder ÆØŁẞ", "ecole-under-aeolss"),
        ("株式会社", "workspace"),
        ("--- !!", "workspace"),
        ("a" * 200, "a" * 50),
        ("x" * 49 + " y", "x" * 49),
        ("2026", "2026"),
    ],
)
async def test_a_slug_is_derived_from_the_name(admin: Connection, name: str, slug: str) -> None:
    ada = await sign_up(admin, "ada")

    workspace = await create(admin, ada, name)

    assert await slug_of(admin, workspace) == slug


async def test_workspaces_of_one_name_get_numbers(admin: Connection) -> None:
    ada = await sign_up(admin, "ada")

    slugs = [await slug_of(admin, await create(admin, ada, "Acme")) for _ in range(23)]

    assert slugs[:3] == ["acme", "acme-2", "acme-3"]
    assert len(set(slugs)) == 23


async def test_a_slug_that_is_given_is_kept_or_refused(admin: Connection) -> None:
    ada = await sign_up(admin, "ada")
    insert = "insert into workspaces (name, slug, owner_id) values ('Acme', $1, $2)"
    await admin.execute(insert, "the-best", ada)

    with pytest.raises(asyncpg.UniqueViolationError, match="workspaces_slug_key"):
        await admin.execute(insert, "the-best", ada)
    for wrong in ("The Best", "-best", "a--b", "", "x" * 64):
        with pytest.raises(asyncpg.CheckViolationError, match="slug_must_be"):
            await admin.execute(insert, wrong, ada)


async def test_many_workspaces_of_one_name_at_once_all_begin(
    admin: Connection, project: Database
) -> None:
    ada = await sign_up(admin, "ada")

    async def begin(name: str) -> UUID:
        async with project.connect() as connection:
            return await create(connection, ada, name)

    async with asyncio.TaskGroup() as group:
        names = ("Acme", "Acme 2", "Acme 2 2")
        begun = [group.create_task(begin(names[n % 3])) for n in range(12)]

    slugs = {await slug_of(admin, task.result()) for task in begun}
    assert len(slugs) == 12


# Members ----------------------------------------------------------------------------------------


async def test_the_owner_cannot_be_removed(admin: Connection) -> None:
    ada = await sign_up(admin, "ada")
    await create(admin, ada, "Acme")

    with pytest.raises(asyncpg.ForeignKeyViolationError, match="owner_must_be_a_member"):
        await admin.execute("delete from workspace_members")


async def test_nobody_but_the_owner_has_the_role_owner(admin: Connection) -> None:
    ada, bob = await sign_up(admin, "ada"), await sign_up(admin, "bob")
    workspace = await create(admin, ada, "Acme")
    await join(admin, workspace, bob)

    with pytest.raises(asyncpg.CheckViolationError, match="does not own workspace"):
        await admin.execute("update workspace_members set role = 'owner'")
    carl = await sign_up(admin, "carl")
    with pytest.raises(asyncpg.CheckViolationError, match="does not own workspace"):
        await admin.execute(
            "insert into workspace_members values ($1, $2, 'owner')", workspace, carl
        )


async def test_the_owner_keeps_the_role_owner(admin: Connection) -> None:
    ada = await sign_up(admin, "ada")
    workspace = await create(admin, ada, "Acme")

    await admin.execute("update workspace_members set role = 'member'")

    assert await members(admin, workspace) == {(ada, "owner")}


async def test_a_member_who_leaves_leaves_the_tasks(admin: Connection) -> None:
    ada, bob = await sign_up(admin, "ada"), await sign_up(admin, "bob")
    workspace = await create(admin, ada, "Acme")
    await join(admin, workspace, bob)
    await admin.execute(
        "insert into tasks (workspace_id, title, assignee_id) values ($1, 'write', $2)",
        workspace,
        bob,
    )

    async with acting(admin, "authenticated", ada):
        await admin.execute("delete from workspace_members where user_id = $1", bob)

    assert await row(admin, "select title, assignee_id from tasks") == ("write", None)


async def test_a_deleted_workspace_takes_all_of_its_own_along(admin: Connection) -> None:
    ada = await sign_up(admin, "ada")
    workspace = await create(admin, ada, "Acme")
    other = await create(admin, ada, "Other")
    for where in (workspace, other):
        client = await admin.fetchval(
            "insert into clients (workspace_id, name) values ($1, 'Cli') returning id", where
        )
        await admin.execute(
            "insert into tasks (workspace_id, client_id, title) values ($1, $2, 'write')",
            where,
            client,
        )
        await admin.execute("insert into workspace_agents values ($1, 'codex')", where)

    async with acting(admin, "authenticated", ada):
        await admin.execute("delete from workspaces where id = $1", workspace)

    for table in ("workspace_members", "workspace_agents", "clients", "tasks"):
        assert [r[0] for r in await admin.fetch(f"select workspace_id from {table}")] == [other]


async def test_a_client_that_is_deleted_leaves_its_tasks(admin: Connection) -> None:
    ada = await sign_up(admin, "ada")
    workspace = await create(admin, ada, "Acme")
    client = await admin.fetchval(
        "insert into clients (workspace_id, name) values ($1, 'Cli') returning id", workspace
    )
    await admin.execute(
        "insert into tasks (workspace_id, client_id, title) values ($1, $2, 'write')",
        workspace,
        client,
    )

    await admin.execute("delete from clients")

    assert await row(admin, "select workspace_id, client_id from tasks") == (workspace, None)


async def create(connection: Connection, owner: UUID, name: str) -> UUID:
    """Begin a workspace as the service role does."""
    async with acting(connection, "service_role"):
        made: UUID = await connection.fetchval(
            "select id from create_workspace($1, $2)", name, owner
        )
    return made


async def join(connection: Connection, workspace: UUID, user: UUID) -> None:
    await connection.execute(
        "insert into workspace_members (workspace_id, user_id) values ($1, $2)", workspace, user
    )


async def members(connection: Connection, workspace: UUID) -> set[tuple[UUID, str]]:
    rows = await connection.fetch(
        "select user_id, role from workspace_members where workspace_id = $1", workspace
    )
    return {(row["user_id"], row["role"]) for row in rows}


async def person(connection: Connection, user: UUID) -> tuple[object, ...]:
    return await row(
        connection, "select full_name, avatar_url, role from public.users where id = $1", user
    )


async def row(connection: Connection, query: str, *given: object) -> tuple[object, ...]:
    [found] = await connection.fetch(query, *given)
    return tuple(found)


async def slug_of(connection: Connection, workspace: UUID) -> str:
    slug: str = await connection.fetchval("select slug from workspaces where id = $1", workspace)
    return slug
