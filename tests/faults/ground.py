"""The ground of a battle: one server that keeps what it has confirmed, daemons, and the load."""

import random
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from coordinator.embedded import PrivateServer
from tests.faults.field import Field, Member, Spawn
from tests.faults.load.logins import Logins, logins_on
from tests.faults.load.programs import plain_agents, sdk_agents, senders
from tests.integration.daemon.daemons import daemon
from tests.support.postgres import Database, migrate, throw_away_server

TIMINGS: Mapping[str, str] = {
    "heartbeat_interval": "1s",
    "stale_after": "3s",
    "take_back_after": "3s",
    "accept_timeout": "2s",
    "cancel_grace": "2s",
    "sweep_interval": "200ms",
    "safety_poll": "1s",
    "tail_interval": "500ms",
    "leader_poll": "200ms",
    "leader_stale_after": "2s",
    "log_level": "debug",  # every transition leaves a line, progress as well
}
"""About ten times as fast as by default, so that what a fault leads to comes in seconds."""
SDK_AGENTS = (("ada", "bob", "cleo", "dan"), ("eli", "fay", "gus", "hal"))
PLAIN_AGENTS = (("pia", "pit", "pam", "pol"),)
RATE = 40.0
"""What the senders try to hand off in a second; about twice as much is dispatched."""


KEEPS_WHAT_IT_CONFIRMED: Mapping[str, str] = {"synchronous_commit": "on"}
"""What a server for battles is set to, unlike those of other tests."""


@asynccontextmanager
async def durable_database() -> AsyncIterator[Database]:
    """A database on a server of its own that keeps what it has confirmed when it is killed."""
    async with throw_away_server(settings=KEEPS_WHAT_IT_CONFIRMED) as server:
        yield await battle_database(server)


async def battle_database(server: PrivateServer) -> Database:
    """Make a migrated database, beside which the server has another one."""
    async with Database("postgres", server).connect() as connection:
        await connection.execute("create database battle")
    database = Database("battle", server)
    async with database.connect() as connection:
        await migrate(connection)
    return database


@dataclass(frozen=True, slots=True)
class Camp:
    """Where daemons and clients are, and how they reach the database."""

    daemons: Sequence[Spawn]
    dsn_as: Callable[[str], str]
    """The clients' way to the database, by their login."""
    prefix: Sequence[str] = ()
    """What stands before each client's command."""


def beside(database: Database, *, daemons: int = 2) -> Camp:
    """A camp on the server's own machine."""
    return Camp([lambda: daemon(database, TIMINGS)] * daemons, database.dsn_as)


@asynccontextmanager
async def field_of(
    database: Database, camp: Camp, chance: random.Random, *, rate: float = RATE
) -> AsyncIterator[Field]:
    """Let daemons and the load work until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as directory:
        async with logins_on(database) as logins:
            field = Field(
                chance=chance,
                database=database,
                daemons=[Member(f"daemon-{n}", spawn) for n, spawn in enumerate(camp.daemons)],
                agents=_agents(camp, logins, Path(directory), chance),
                senders=[_senders(camp, logins, Path(directory), chance, rate)],
                notes=Path(directory),
            )
            async with anyio.create_task_group() as at_work:
                for member in (*field.daemons, *field.clients):
                    at_work.start_soon(member.serve, random.Random(chance.random()))
                yield field
                at_work.cancel_scope.cancel()


def _agents(camp: Camp, logins: Logins, notes: Path, chance: random.Random) -> list[Member]:
    kinds = (
        (sdk_agents, logins.sdk, SDK_AGENTS),
        (plain_agents, logins.plain, PLAIN_AGENTS),
    )
    return [
        Member(
            f"{program.__name__}-{n}",
            program(camp.dsn_as(login), notes, names, str(chance.random()), prefix=camp.prefix),
        )
        for program, login, groups in kinds
        for n, names in enumerate(groups)
    ]


def _senders(camp: Camp, logins: Logins, notes: Path, chance: random.Random, rate: float) -> Member:
    everybody = [name for names in (*SDK_AGENTS, *PLAIN_AGENTS) for name in names]
    return Member(
        "senders",
        senders(
            camp.dsn_as(logins.senders),
            notes,
            "eve",
            str(chance.random()),
            to=everybody,
            rate=rate,
            prefix=camp.prefix,
        ),
    )
