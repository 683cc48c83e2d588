"""plpgsql_check finds nothing in the functions of either half, each with the triggers it serves.

The extension comes with Debian's package postgresql-15-plpgsql-check; other servers lack it.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database
from tests.support.supabase import OWNER, Defaults

# With the long checks, which install the extension, and for which a skip is a failure.
pytestmark = pytest.mark.slow

FALSE_ALARMS = {
    # It only raises. A planner that may take it for immutable may call it where nothing is refused.
    "coordination.refuse(text,text,text)": "routine is marked as VOLATILE, should be IMMUTABLE",
}
"""Findings that are wrong, by function, and why."""

TRIGGER = "'{trigger,event_trigger}'::regtype[]"

CALLED = (
    "select p.oid, p.prorettype = any (" + TRIGGER + ") as serves, t.tgname, t.tgrelid,"
    " t.tgoldtable, t.tgnewtable"
    " from pg_proc p join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'"
    " left join pg_trigger t on t.tgfoid = p.oid and not t.tgisinternal"
    " where p.pronamespace::regnamespace::text = any ('{public,coordination,agency}')"
)
"""Each function in PL/pgSQL, once for each trigger that calls it."""

FINDINGS = (
    "select c.oid::regprocedure::text || coalesce(' by ' || c.tgname, '') as called,"
    " c.oid::regprocedure::text as function, f.level, f.lineno, f.message, f.detail, f.hint"
    f" from ({CALLED}) c, lateral plpgsql_check_function_tb("
    " c.oid, coalesce(c.tgrelid, 0), oldtable => c.tgoldtable, newtable => c.tgnewtable,"
    " fatal_errors => false, other_warnings => true, extra_warnings => true,"
    " performance_warnings => true, security_warnings => true, compatibility_warnings => true,"
    " use_incomment_options => false) f"
    " where not c.serves or c.tgname is not null"
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def checked_project(projects: Cluster) -> AsyncIterator[Database]:
    """A project whose server has the extension, in which nobody ever commits."""
    async with projects.database(template=Defaults.CLOSED, owner=OWNER) as database:
        async with World.on(database) as world:
            if not await world.rows(
                "select from pg_available_extensions where name = 'plpgsql_check'"
            ):
                pytest.skip(
                    "this PostgreSQL lacks the extension plpgsql_check"
                    " (Debian: postgresql-15-plpgsql-check)"
                )
            await world.execute("create schema lint; create extension plpgsql_check schema lint")
        yield database


@pytest.fixture
async def world(checked_project: Database) -> AsyncIterator[World]:
    """A transaction that is rolled back in the end."""
    async with (
        World.on(checked_project, search_path="public, lint") as world,
        world.savepoint(),
    ):
        yield world


async def test_every_trigger_function_serves_a_trigger(world: World) -> None:
    """One that serves none would not be checked below."""
    idle = await world.rows(
        f"select oid::regprocedure from ({CALLED}) c where serves and tgname is null"
    )

    assert [row[0] for row in idle] == []


async def test_the_functions_of_both_halves_are_checked(world: World) -> None:
    checked = {
        row[0]
        for row in await world.rows(
            "select distinct o.proname from (" + CALLED + ") c join pg_proc o on o.oid = c.oid"
        )
    }

    assert checked >= {"lock_agent", "handoffs_changed", "task_follows", "create_workspace"}


async def test_plpgsql_check_finds_nothing(world: World) -> None:
    assert await findings(world) == []


async def test_each_false_alarm_is_still_raised(world: World) -> None:
    raised = {(row["function"], row["message"]) for row in await world.rows(FINDINGS)}

    assert raised >= FALSE_ALARMS.items()


@pytest.mark.parametrize(
    ("level", "flaw"),
    [
        ("error", "perform nothing_of_that_name from public.tasks;"),
        ("error", "perform 1 from wrong_rows;"),
        ("warning", "declare unused integer; begin null; end;"),
        ("warning extra", "declare unread integer; begin unread := 1; end;"),
        ("security", "declare s text := tg_name; begin execute 'select ' || s; end;"),
        (
            "performance",
            "declare n bigint; begin select count(*)::integer into n from old_rows; end;",
        ),
    ],
)
async def test_a_flaw_of_each_level_is_found(world: World, level: str, flaw: str) -> None:
    await world.execute(
        "create function agency.flawed() returns trigger language plpgsql"
        f" set search_path = pg_catalog, pg_temp as $$ begin {flaw} return null; end $$;"
        "create trigger flawed after update on public.tasks"
        " referencing old table as old_rows"
        " for each statement execute function agency.flawed()"
    )

    assert [called for called, found, *_ in await findings(world) if found == level] == [
        "agency.flawed() by flawed"
    ]


async def findings(world: World) -> list[tuple[object, ...]]:
    """What is wrong: the function and its trigger, level, line, message, detail, hint."""
    return [
        (row["called"], row["level"], row["lineno"], row["message"], row["detail"], row["hint"])
        for row in await world.rows(FINDINGS)
        if FALSE_ALARMS.get(row["function"]) != row["message"]
    ]
