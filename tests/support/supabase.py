"""Databases dressed as Supabase projects, and acting in them as the people of a project would."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from uuid import UUID, uuid4

from coordinator.store.halves import Half
from tests.support.postgres import (
    Cluster,
    Connection,
    Database,
    migrate,
    migration_files,
    throw_away_server,
)

SHIM = Path(__file__).with_name("supabase.sql")
OWNER = "supabase_owner"
"""Who migrates: no superuser, as `postgres` of a hosted project."""

_OPEN = "; ".join(
    f"alter default privileges for role {OWNER} in schema public"
    f" grant all on {kind} to anon, authenticated, service_role"
    for kind in ("tables", "functions", "sequences")
)


class Defaults(StrEnum):
    """What a project grants on new tables and functions by itself."""

    OPEN = "open"
    """Everything to the API's roles: projects from before the end of May 2026."""
    CLOSED = "closed"
    """Nothing to anybody."""


@asynccontextmanager
async def supabase_cluster() -> AsyncIterator[Cluster]:
    """A server with a template for each kind of project: bare, and with both halves.

    It is a server apart, since Supabase's roles would be in all of its databases.
    """
    async with throw_away_server() as server:
        cluster = Cluster(server)
        for defaults in Defaults:
            await cluster.admin(f"create database bare_{defaults}")
            async with Database(f"bare_{defaults}", server).connect() as connection:
                await dress(connection, defaults)
            await cluster.admin(
                f"create database {defaults} template bare_{defaults} owner {OWNER}"
            )
            async with Database(defaults, server).connect(user=OWNER) as connection:
                await migrate_both(connection)
        yield cluster


async def dress(connection: Connection, defaults: Defaults = Defaults.CLOSED) -> None:
    """Make a Supabase project of an empty database; the connection is a superuser's."""
    await connection.execute(SHIM.read_text())
    if defaults is Defaults.OPEN:
        await connection.execute(_OPEN)


async def migrate_both(connection: Connection) -> None:
    """Apply both halves as `supabase db push` would, in the order of all names."""
    await migrate(connection, sorted(file for half in Half for file in migration_files(half)))


async def sign_up(connection: Connection, name: str, /, **told: object) -> UUID:
    """Sign up as a new person would, with what they tell of themselves; return their id."""
    user = uuid4()
    async with connection.transaction():
        await connection.execute("set local role supabase_auth_admin")
        await connection.execute(
            "insert into auth.users (id, email, raw_user_meta_data) values ($1, $2, $3)",
            user,
            f"{name}@example.com",
            json.dumps(told),
        )
        await connection.execute("reset role")
    return user


@asynccontextmanager
async def acting(
    connection: Connection, role: str, user: UUID | None = None
) -> AsyncIterator[Connection]:
    """Do what is in the block as PostgREST does it for a caller: in a role, with claims.

    A savepoint in the test's transaction, or a transaction; it is kept unless the block raises.
    """
    async with connection.transaction():
        claims = {"role": role} | ({"sub": str(user)} if user else {})
        await connection.execute(f"set local role {role}")
        await connection.execute(
            "select set_config('request.jwt.claims', $1, true)", json.dumps(claims)
        )
        yield connection
        # Deferred constraints speak up here rather than at a commit that may never come.
        await connection.execute("set constraints all immediate")
        await connection.execute("set constraints all deferred")
        await connection.execute("reset role")
        await connection.execute("select set_config('request.jwt.claims', '', true)")
