"""`coordinator agents create-login`: a real login with a real password, and what it can do.

Its server asks for passwords over TCP and logs every statement, so that what it hears is seen.
"""

import stat
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import asyncpg
import pytest
import pytest_asyncio

from coordinator.agents import Agent, RequestRefused
from coordinator.core.errors import Refusal
from coordinator.store import agent_logins, scram
from coordinator.store.agent_logins import BoundLogin, NewLogin
from coordinator.store.connection import Connection as StoreConnection
from coordinator.store.dsn import connect_target
from tests.support.commands import Ended, ended
from tests.support.listening import ListeningServer, listening_server
from tests.support.postgres import Cluster, Connection, Database, migrated_cluster

pytestmark = pytest.mark.matrix

GONE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver may raise on a connection that the server has ended."""
A_PASSWORD = "correct horse: battery/staple@%"


@dataclass(frozen=True, slots=True)
class Office:
    """A database in which logins are made, on a server that asks for passwords."""

    database: Database
    server: ListeningServer
    owner: Connection

    async def run(self, *arguments: str) -> Ended:
        """Run a command as the schema's owner."""
        return await ended("agents", *arguments, on=self.database)

    def login(self, name: str) -> str:
        """A name that no other test's login has: they belong to the server."""
        return f"{name}_of_{self.database.name}"

    def way_in(self, name: str, password: str) -> str:
        """An agent's DSN by TCP, where the password is asked for."""
        return self.server.dsn(self.database.name, self.login(name), password)

    async def make(
        self,
        name: str,
        *roles: str,
        speaks: Literal["functions", "sql"] = "functions",
        by: str | None = None,
    ) -> str:
        """Make a login as the command does; return its way in, password included."""
        password = scram.new_password()
        new = NewLogin(self.login(name), name, roles, speaks)
        async with self.store(by) as store:
            await agent_logins.create_login(store, new, scram.verifier(password))
        return self.way_in(name, password)

    async def drop(self, name: str, *, by: str | None = None) -> int | None:
        """Drop an agent's login as the command does."""
        async with self.store(by) as store:
            return await agent_logins.drop_login(store, self.login(name))

    async def listed(self) -> list[BoundLogin]:
        """The logins there are."""
        async with self.store() as store:
            return await agent_logins.list_logins(store)

    @asynccontextmanager
    async def store(self, user: str | None = None) -> AsyncIterator[StoreConnection]:
        """A connection of the owner's, or of another login's."""
        dsn = self.database.dsn if user is None else self.database.dsn_as(user)
        connection = await StoreConnection.open(connect_target(dsn), application_name="office")
        try:
            yield connection
        finally:
            await connection.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asking() -> AsyncIterator[tuple[ListeningServer, Cluster]]:
    """A server that asks for SCRAM over TCP, and logs all that it is told."""
    logs_all = {"log_statement": "all", "log_min_error_statement": "debug5"}
    async with listening_server("host all all samehost scram-sha-256", logs_all) as server:
        yield server, await migrated_cluster(server.server)


@pytest.fixture
async def office(asking: tuple[ListeningServer, Cluster]) -> AsyncIterator[Office]:
    """A migrated database of the test's own; its logins go with it."""
    server, cluster = asking
    async with cluster.database() as database, database.connect() as owner:
        yield Office(database, server, owner)
        rows = await owner.fetch("select rolname from pg_roles where rolname ~ $1", database.name)
        for row in rows:
            await owner.execute(f'drop owned by "{row[0]}"; drop role "{row[0]}"')


# The commands -----------------------------------------------------------------------------------


async def test_the_password_is_shown_once_and_lets_the_agent_in(office: Office) -> None:
    made = await office.run(
        *("create-login", "trae", "--login", office.login("trae"), "--role", "reviewer")
    )
    shown = await office.run("list-logins")

    assert (made.code, len(made.out.splitlines())) == (0, 1), made
    assert scram.is_fit(made.out.strip())
    async with Agent.connect(office.way_in("trae", made.out.strip()), "trae", roles=["reviewer"]):
        pass
    assert made.out.strip() not in made.err + shown.out + shown.err
    assert shown.out.split()[6:10] == ["trae", office.login("trae"), "reviewer", "functions"]


async def test_the_password_may_come_from_a_file_and_is_not_shown(
    office: Office, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{A_PASSWORD}\n")

    made = await office.run(
        *("create-login", "trae", "--login", office.login("trae")),
        *("--password-file", str(file), "--json"),
    )

    assert (made.code, made.data["password"]) == (0, None)
    assert A_PASSWORD not in made.out + made.err
    async with Agent.connect(office.way_in("trae", A_PASSWORD), "trae"):
        pass


async def test_the_password_may_be_saved_for_its_owner_alone(
    office: Office, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    command = ("create-login", "trae", "--login", office.login("trae"), "--save-to", str(file))

    made = await office.run(*command)
    again = await office.run(*command)

    assert (made.code, made.out) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with Agent.connect(office.way_in("trae", file.read_text().strip()), "trae"):
        pass
    assert again.code == 78
    assert "Name a new file" in again.err


async def test_a_login_is_never_taken_over_and_no_password_is_left_behind(
    office: Office, tmp_path: Path
) -> None:
    await office.make("trae")
    saved = tmp_path / "password"

    refused = await office.run(
        "create-login", "codex", "--login", office.login("trae"), "--save-to", str(saved)
    )

    assert refused.code == 65
    assert f"there is a role {office.login('trae')} already" in refused.err
    assert not saved.exists()
    assert [row.agent_name for row in await office.listed()] == ["trae"]


async def test_a_login_is_dropped_by_command(office: Office) -> None:
    await office.make("trae")

    dropped = await office.run("drop-login", office.login("trae"))
    again = await office.run("drop-login", office.login("trae"))

    assert (dropped.code, again.code) == (0, 65)
    assert "0 connections ended" in dropped.err
    assert "list-logins" in again.err


# What a login is --------------------------------------------------------------------------------


async def test_a_made_login_is_its_agent_and_no_other(office: Office) -> None:
    dsn = await office.make("trae", "reviewer")

    async with Agent.connect(dsn, "trae", roles=["reviewer"]) as trae:
        sent = await trae.hand_off("trae", "review it")
        assert await office.owner.fetchval("select from_agent from handoffs where id = $1", sent.id)
    for name, roles in (("codex", []), ("trae", ["codex"])):
        with pytest.raises(RequestRefused) as refused:
            async with Agent.connect(dsn, name, roles=roles):
                pass
        assert refused.value.refusal is Refusal.NOT_THIS_LOGIN


async def test_the_sdk_works_on_a_bound_login_from_hand_off_to_result(office: Office) -> None:
    async with Agent.connect(await office.make("trae"), "trae") as trae:
        await office.owner.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " values ('eve', 'trae', 'do it');"
            "update handoffs set status = 'in_progress', attempt = 1, assigned_agent = 'trae',"
            " held_by = (select incarnation from agent_status), dispatched_at = now()"
        )
        async for handoff in trae.handoffs():
            async with handoff:
                await handoff.report_progress("half way")
                handoff.succeed("done")
            trae.stop()

    assert await office.owner.fetchval("select outcome from handoffs") == "succeeded"


async def test_a_plain_login_speaks_sql_and_calls_no_function(office: Office) -> None:
    connection = await asyncpg.connect(await office.make("pia", speaks="sql"))
    try:
        await connection.execute("insert into agent_status (agent_name) values ('pia')")
        for forbidden in (
            "select heartbeat('pia')",
            "insert into agent_status (agent_name) values ('bob')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()


async def test_a_wrong_password_does_not_let_in(office: Office) -> None:
    await office.make("trae")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(office.way_in("trae", scram.new_password()))


async def test_names_are_quoted_whatever_they_hold(office: Office) -> None:
    name = """O'Hara "the agent" \\ Müller $1 %I"""
    login = f"Ä\"'\\ {office.login('x')}"
    async with office.store() as store:
        new = NewLogin(login, name, ["it's, {a} role"], "functions")
        await agent_logins.create_login(store, new, scram.verifier(A_PASSWORD))

        [made] = await agent_logins.list_logins(store)
        await agent_logins.drop_login(store, login)

    assert (made.login, made.agent_name, made.roles) == (login, name, ["it's, {a} role"])
    assert await office.listed() == []


async def test_the_server_never_hears_the_password(office: Office) -> None:
    dsn = await office.make("trae")
    password = dsn.split(":")[2].split("@")[0]
    async with Agent.connect(dsn, "trae"):
        pass

    heard = office.server.server.log.read_text()

    assert f"create role {office.login('trae')}" in heard
    assert "SCRAM-SHA-256$4096:" in heard
    assert password not in heard


async def test_the_verifier_is_the_one_that_postgresql_makes(office: Office) -> None:
    login = office.login("any")
    await office.owner.execute(f"create role {login} login password '{A_PASSWORD}'")

    kept: str = await office.owner.fetchval(
        "select rolpassword from pg_authid where rolname = $1", login
    )

    salt = b64decode(kept.split(":")[1].split("$")[0])
    assert scram.verifier(A_PASSWORD, salt=salt) == kept


# Listing and dropping ---------------------------------------------------------------------------


async def test_logins_are_listed_with_their_agents(office: Office) -> None:
    dsn = await office.make("trae", "reviewer", "tester")
    await office.make("pia", speaks="sql")

    async with Agent.connect(dsn, "trae"):
        rows = await office.listed()

    assert [(row.agent_name, row.roles, row.speaks, row.connections) for row in rows] == [
        ("pia", [], "sql", 0),
        ("trae", ["reviewer", "tester"], "functions", 1),
    ]


async def test_a_dropped_login_is_gone_with_its_connections(office: Office) -> None:
    connection = await asyncpg.connect(await office.make("trae"))
    try:
        assert await office.drop("trae") == 1
        with pytest.raises(GONE):
            await connection.execute("select heartbeat('trae')")
    finally:
        connection.terminate()

    assert await office.listed() == []
    assert not await office.owner.fetchval(
        "select exists (select from pg_roles where rolname = $1)", office.login("trae")
    )


async def test_a_role_that_is_no_agents_login_is_not_dropped(office: Office) -> None:
    await office.owner.execute(f"create role {office.login('boss')} login")

    with pytest.raises(RequestRefused, match="there is no agent's login"):
        await office.drop("boss")

    assert await office.owner.fetchval(
        "select exists (select from pg_roles where rolname = $1)", office.login("boss")
    )


async def test_a_login_that_owns_something_is_shut_out_and_the_way_on_named(
    office: Office,
) -> None:
    dsn = await office.make("trae")
    await office.owner.execute(f"create schema hers authorization {office.login('trae')}")

    with pytest.raises(RequestRefused, match="drop owned by"):
        await office.drop("trae")

    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(dsn)


async def test_a_binding_whose_login_was_dropped_by_hand_can_be_dropped(office: Office) -> None:
    await office.make("trae")
    await office.owner.execute(f"drop role {office.login('trae')}")

    assert [row.speaks for row in await office.listed()] == [None]
    assert await office.drop("trae") == 0
    assert await office.listed() == []


# Who may ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "role", ["login in role coordinator_daemon", "login createrole in role coordinator_daemon"]
)
async def test_whoever_may_not_make_logins_is_told_who_may(office: Office, role: str) -> None:
    user = office.login("somebody")
    await office.owner.execute(f"create role {user} {role}")

    with pytest.raises(RequestRefused) as refused:
        await office.make("trae", by=user)

    assert refused.value.code == "42501"
    assert f"{user} may not make logins" in str(refused.value)
    assert "Connect as whoever ran coordinator migrate" in str(refused.value)


async def test_an_owner_who_is_no_superuser_makes_and_drops_logins(office: Office) -> None:
    """As on Supabase, where postgres is none."""
    user = office.login("hers")
    await office.owner.execute(
        f"create role {user} login createrole;"
        f" grant coordinator_agent, coordinator_bound_agent, coordinator_plain_agent to {user}"
        f" with admin option; grant coordinator_daemon to {user};"
        f" grant all on coordination.agent_logins to {user}"
    )

    async with Agent.connect(await office.make("trae", by=user), "trae"):
        ended_ = await office.drop("trae", by=user)

    assert ended_ is None
    assert await office.listed() == []


# A password of one's own ------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["short", "käse" * 5, "two\nlines, both of them", ""])
def test_an_unfit_password_is_known(password: str) -> None:
    assert not scram.is_fit(password)


def test_a_made_up_password_is_fit_and_never_the_same() -> None:
    passwords = {scram.new_password() for _ in range(100)}

    assert len(passwords) == 100
    assert all(scram.is_fit(password) and len(password) >= 32 for password in passwords)


async def test_an_unfit_password_is_refused_and_not_shown(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("geheim")

    refused = await office.run("create-login", "trae", "--password-file", str(file))

    assert refused.code == 78
    assert "is not fit" in refused.err
    assert "geheim" not in refused.err
    assert await office.listed() == []
