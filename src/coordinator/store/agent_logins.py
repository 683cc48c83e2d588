"""Logins that are one agent and no other: made, listed and dropped by the schema's owner.

The server makes the texts of the statements, since only it knows how it quotes names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import asyncpg

from coordinator.core.errors import RequestRefused
from coordinator.store.connection import Connection, Statements

Speaks = Literal["functions", "sql"]
_ROLES: dict[Speaks, str] = {"functions": "coordinator_agent", "sql": "coordinator_plain_agent"}
_NO_RIGHT = "42501"
_EXISTS = "42710"
_NOT_FOUND = "42704"
_IN_USE = "2BP01"


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A login to be made."""

    login: str
    agent_name: str
    roles: Sequence[str]
    """The roles that it may register, beside its name."""
    speaks: Speaks
    """Whether it calls the functions or speaks plain SQL; it may do no more than that."""


@dataclass(frozen=True, slots=True)
class BoundLogin:
    """A login as it stands."""

    login: str
    agent_name: str
    roles: Sequence[str]
    speaks: Speaks | None
    """None where the server has no such role, or has taken its rights away."""
    connections: int
    """To this database, now."""
    created_at: datetime


async def create_login(connection: Connection, new: NewLogin, verifier: str) -> None:
    """Make a login and bind it, both or neither; raise RequestRefused."""
    (may,) = await connection.run("login_rights", login=new.login)
    if may["is_there"]:
        raise _exists(new.login)
    if not (may["create"] and may["bind"] and may["grant"]):
        raise _no_right(may["me"])
    (row,) = await connection.run(
        "login_create",
        login=new.login,
        verifier=verifier,
        granted=_ROLES[new.speaks],
        agent_name=new.agent_name,
        roles=list(new.roles),
    )
    try:
        await connection.execute(row["script"])
    except asyncpg.DuplicateObjectError as error:  # made by somebody else meanwhile
        raise _exists(new.login) from error


async def list_logins(statements: Statements) -> list[BoundLogin]:
    """Return the bound logins of this database, by their agents."""
    return [BoundLogin(**dict(row)) for row in await statements.run("login_list")]


async def drop_login(connection: Connection, login: str) -> int | None:
    """Drop a bound login; return how many of its connections were ended.

    None: we may not end them. They can do nothing any more, and end by themselves. Raise
    RequestRefused where no agent's login has this name, or where it owns something.
    """
    rows = await connection.run("login_drop", login=login)
    if not rows:
        raise RequestRefused(
            _NOT_FOUND,
            f"there is no agent's login {login}",
            "only a login that create-login made can be dropped here",
            "List them with: coordinator agents list-logins",
        )
    (found,) = rows
    if found["is_there"]:
        # First, so that none comes back between the end of its connections and its own.
        await connection.execute(found["shut"])
    ended = await _end_sessions(connection, login)
    try:
        await connection.execute(found["drop"])
    except asyncpg.DependentObjectsStillExistError as error:
        raise RequestRefused(
            _IN_USE,
            f"login {login} owns something, or has been granted more",
            error.detail,
            f'It cannot log in any more. Run: drop owned by "{login}"; then drop it again.',
        ) from error
    return ended


async def _end_sessions(connection: Connection, login: str) -> int | None:
    try:
        (row,) = await connection.run("login_end_sessions", login=login)
    except RequestRefused as refused:
        if refused.code != _NO_RIGHT:
            raise
        return None
    return int(row["ended"])


def _exists(login: str) -> RequestRefused:
    return RequestRefused(
        _EXISTS,
        f"there is a role {login} already",
        "a login is made for one agent, and never taken over",
        "Name another one with --login, or drop it: coordinator agents drop-login.",
    )


def _no_right(user: str) -> RequestRefused:
    return RequestRefused(
        _NO_RIGHT,
        f"{user} may not make logins for agents",
        "that needs CREATEROLE, the schema's owner, and the right to grant the agents' roles",
        "Connect as whoever ran coordinator migrate (on Supabase: postgres), or as a superuser.",
    )
