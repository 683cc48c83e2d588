"""Logins for the clients of a load, each with the rights that it needs and no others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.postgres import Database


@dataclass(frozen=True, slots=True)
class Logins:
    """The names of the logins."""

    sdk: str
    plain: str
    senders: str


@asynccontextmanager
async def logins_on(database: Database) -> AsyncIterator[Logins]:
    """Make logins for a database's clients, without passwords; drop them at the end."""
    logins = Logins(*(f"{client}_of_{database.name}" for client in ("sdk", "plain", "senders")))
    rights = {
        logins.sdk: "coordinator_agent",
        logins.plain: "coordinator_plain_agent",
        logins.senders: "coordinator_agent, coordinator_plain_agent",
    }
    async with database.connect() as connection:
        for login, roles in rights.items():
            await connection.execute(f"create role {login} login in role {roles}")
    try:
        yield logins
    finally:
        async with database.connect() as connection:
            await connection.execute(f"drop role {', '.join(rights)}")
