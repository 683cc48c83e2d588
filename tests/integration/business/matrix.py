"""A small world of two workspaces, and who may do what in it: one deed in it is one cell.

Nothing stays of a cell. A caller's deed is judged from outside: by the rows that the superuser
finds changed, not by what the caller is told.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from uuid import UUID, uuid4

import asyncpg

from tests.integration.schema.world import World as Handoffs
from tests.support.postgres import Cluster, Connection, Database
from tests.support.supabase import OWNER, Defaults, acting, sign_up


class Caller(StrEnum):
    """Who calls. The member, the owner and the outsider are all `authenticated`."""

    ANON = "anon"
    MEMBER = "member"
    OWNER = "owner"
    OUTSIDER = "outsider"
    SERVICE_ROLE = "service_role"

    @property
    def role(self) -> str:
        """The role that PostgREST would take on."""
        return "authenticated" if self in PERSONS else self.value


PERSONS = {Caller.MEMBER: "bob", Caller.OWNER: "ada", Caller.OUTSIDER: "olga"}
"""By name: bob is a member of Acme, which is ada's. Orbit is olga's alone."""


class Deed(StrEnum):
    """What is done to a table: all of it, or with one row more."""

    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Kind:
    """A table of the matrix: how its rows are told apart and named, and what is done to it."""

    key: str
    label: str
    insert: str
    update: str
    only: str = ""
    """A condition for updates and deletes, where all rows at once would be refused to anybody.

    It brings in the policies for select as well, and so may hide what the others let by.
    """


_IN = " || ' in ' || (select w.name from public.workspaces w where w.id = t.workspace_id)"

TABLES: Mapping[str, Kind] = {
    "users": Kind("id", "full_name", "(id, full_name) values ({dora}, 'dora')", "full_name = 'x'"),
    "workspaces": Kind(
        "id", "name", "(name, owner_id) values ('New', {ada})", "name = 'x', slug = slug || '-x'"
    ),
    "workspace_members": Kind(
        "(workspace_id, user_id)",
        "(select u.full_name from public.users u where u.id = t.user_id)" + _IN,
        "(workspace_id, user_id) values ({Acme}, {olga})",
        "created_at = '2001-01-01'",
        # The owners' own rows are held by a constraint.
        only="role = 'member'",
    ),
    "workspace_agents": Kind(
        "(workspace_id, address)",
        "address" + _IN,
        "(workspace_id, address) values ({Acme}, 'trae')",
        "address = address || '-x'",
    ),
    "clients": Kind(
        "id", "name", "(workspace_id, name) values ({Acme}, 'new client')", "name = 'x'"
    ),
    "tasks": Kind(
        "id", "title", "(workspace_id, title) values ({Acme}, 'new task')", "title = 'x'"
    ),
    "agent_status": Kind("id", "agent_name", "(agent_name) values ('trae')", "current_task = 'x'"),
    "handoffs": Kind(
        "id",
        "task_description",
        "(from_agent, to_agent, task_description) values ('ada', 'codex', 'new handoff')",
        "priority = 9",
        # A completed handoff is final for everybody.
        only="outcome is null",
    ),
    "coordination_events": Kind(
        "sequence", "event", "(event) values ('handoff.forged')", "detail = '{{}}'"
    ),
    "coordination_settings": Kind(
        "one_row", "'the settings'", "(one_row) values (true)", "max_hops = 9"
    ),
}
"""Every table of schema public."""

BUSINESS = tuple(TABLES)[:6]


@dataclass(frozen=True, slots=True)
class Cell:
    """One caller's deed, and what comes of it.

    Rows by their names (seen, arrived, changed or gone), `nothing`, or the SQLSTATE of a refusal.
    """

    table: str
    caller: Caller
    deed: Deed
    expected: str

    def __str__(self) -> str:
        return f"{self.caller} {self.deed} {self.table}"


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's call of a function; `expected` is what it answers, or a SQLSTATE."""

    function: str
    caller: Caller
    query: str
    expected: str

    def __str__(self) -> str:
        return f"{self.caller} calls {self.query}"


Question = Cell | Call
Rows = Mapping[str, tuple[str, str]]
"""By key: the name of a row, and all that it holds."""


@dataclass(slots=True)
class World:
    """A connection in a transaction that is never committed, and the ids of all by name."""

    connection: Connection
    ids: Mapping[str, UUID]
    _before: dict[str, Rows] = field(default_factory=dict)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happens inside."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()

    @asynccontextmanager
    async def acting(self, caller: Caller) -> AsyncIterator[Connection]:
        """Do what is in the block as this caller; it is kept unless the block raises."""
        user = self.ids[PERSONS[caller]] if caller in PERSONS else None
        async with acting(self.connection, caller.role, user) as connection:
            yield connection

    def filled(self, query: str) -> str:
        """Put ids where a query has names in braces."""
        return query.format_map({name: f"'{id}'" for name, id in self.ids.items()})

    async def outcome(self, question: Question) -> str:
        """What comes of it; then it is undone."""
        async with self.savepoint():
            try:
                match question:
                    case Call():
                        return await self._answer(question)
                    case Cell(deed=Deed.SELECT):
                        return await self._seen(question)
                    case Cell():
                        return await self._changed(question)
            except asyncpg.PostgresError as error:
                return str(error.sqlstate)

    async def red(self, questions: Iterable[Question]) -> AsyncIterator[str]:
        """Yield those with another outcome than is expected, in words."""
        for question in questions:
            found = await self.outcome(question)
            if found != question.expected:
                yield f"{question}: {found}, not {question.expected}"

    async def rows(self, table: str) -> Rows:
        """All rows of a table, as the superuser sees them."""
        kind = TABLES[table]
        found = await self.connection.fetch(
            f"select ({kind.key})::text, {kind.label}, t::text from public.{table} t"
        )
        return {key: (label, whole) for key, label, whole in found}

    async def before(self, table: str) -> Rows:
        """The rows of a table before anybody did anything."""
        if table not in self._before:
            self._before[table] = await self.rows(table)
        return self._before[table]

    async def _answer(self, call: Call) -> str:
        async with self.acting(call.caller) as connection:
            # By the caller's name, or else the plan of another caller would answer what it folded.
            answer = await connection.fetchval(f"{self.filled(call.query)} -- {call.caller}")
        return str(answer)

    async def _seen(self, cell: Cell) -> str:
        before = await self.before(cell.table)
        async with self.acting(cell.caller) as connection:
            found = await connection.fetch(
                f"select ({TABLES[cell.table].key})::text as key, t.* from public.{cell.table} t"
            )
        return _listed(before[row["key"]][0] for row in found)

    async def _changed(self, cell: Cell) -> str:
        before = await self.before(cell.table)
        async with self.acting(cell.caller) as connection:
            await connection.execute(self.filled(_statement(cell)))
        after = await self.rows(cell.table)
        changed = {key for key, _ in set(before.items()) ^ set(after.items())}
        return _listed((before.get(key) or after[key])[0] for key in changed)


def cells(table: str) -> Iterator[Cell]:
    """Read a table of cells: a line for each table and caller, a column for each deed."""
    header, *lines = _read(table)
    deeds = [Deed(deed) for deed in header[2:]]
    for name, caller, *outcomes in lines:
        for deed, expected in zip(deeds, outcomes, strict=True):
            yield Cell(name, Caller(caller), deed, expected)


def calls(table: str, callers: Iterable[Caller] = ()) -> Iterator[Call]:
    """Read a table of calls: a column for each caller that it names, and 42501 for `callers`."""
    header, *lines = _read(table)
    for function, arguments, *answers in lines:
        whole = arguments.startswith(("select ", "update "))
        query = arguments if whole else f"select {function}({arguments})"
        for caller, expected in chain(
            zip((Caller(name) for name in header[2:]), answers, strict=True),
            ((caller, "42501") for caller in callers),
        ):
            yield Call(function, caller, query, expected)


async def seed(connection: Connection) -> Mapping[str, UUID]:
    """Make the world as a superuser; return the ids of people, workspaces and handoffs by name."""
    ids = {
        name: await sign_up(connection, name, full_name=name)
        for name in ("ada", "bob", "carl", "dora", "olga")
    }
    # carl has an account and a row and no workspace; dora has an account only.
    await connection.execute("delete from public.users where id = $1", ids["dora"])
    for name, owner in {"Acme": "ada", "Orbit": "olga"}.items():
        ids[name] = await connection.fetchval(
            "select id from create_workspace($1, $2)", name, ids[owner]
        )
    for title in ("write", "call", "spy"):
        ids[title] = uuid4()
    world = World(connection, ids)
    for statement in _SEEDS:
        await connection.execute(world.filled(statement))
    ids["given"] = await connection.fetchval(
        "select handoff_id from tasks where id = $1", ids["write"]
    )
    ids["ended"] = await connection.fetchval("select id from handoffs where to_agent = 'nobody'")
    await connection.execute("select cancel_handoff($1)", ids["ended"])
    given = await Handoffs(connection).dispatch("codex")
    assert given == (1, False)
    return ids


_SEEDS = (
    "insert into workspace_members (workspace_id, user_id) values ({Acme}, {bob})",
    "insert into workspace_agents values ({Acme}, 'codex'), ({Orbit}, 'gemini')",
    "insert into clients (workspace_id, name) values ({Acme}, 'Bolt'), ({Orbit}, 'Nut')",
    """
    insert into tasks (id, workspace_id, client_id, title, assignee_id)
    select given.id::uuid, c.workspace_id, c.id, given.title, given.assignee::uuid
    from (values
      ({write}, 'Bolt', 'write', {bob}),
      ({call}, 'Bolt', 'call', null),
      ({spy}, 'Nut', 'spy', {olga})
    ) as given (id, client, title, assignee)
    join clients c on c.name = given.client
    """,
    "insert into agent_status (agent_name) values ('codex'), ('gemini')",
    "select hand_off_task({write}, 'codex')",
    "select hand_off('ada', 'nobody', 'chat')",
)


@asynccontextmanager
async def small_world(projects: Cluster, defaults: Defaults) -> AsyncIterator["Seeded"]:
    """A project with the world in it."""
    async with projects.database(template=defaults, owner=OWNER) as database:
        async with database.connect() as connection:
            ids = await seed(connection)
        yield Seeded(database, ids)


@dataclass(frozen=True, slots=True)
class Seeded:
    """A project that all tests leave as it was."""

    database: Database
    ids: Mapping[str, UUID]

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        """A superuser's connection to it, in a transaction that is rolled back in the end."""
        async with self.database.connect() as connection:
            world = World(connection, self.ids)
            async with world.savepoint():
                yield world


def _statement(cell: Cell) -> str:
    kind = TABLES[cell.table]
    where = f" where {kind.only}" if kind.only else ""
    match cell.deed:
        case Deed.INSERT:
            return f"insert into public.{cell.table} {kind.insert}"
        case Deed.UPDATE:
            return f"update public.{cell.table} set {kind.update}{where}"
        case _:
            return f"delete from public.{cell.table}{where}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "nothing"


def _read(table: str) -> list[list[str]]:
    return [
        [column.strip() for column in line.split("|")]
        for line in table.strip().splitlines()
        if line.strip()
    ]
