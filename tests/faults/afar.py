"""A camp far from its server: every daemon on a host of its own, and the clients on another."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.faults.field import Field, Spawn
from tests.faults.ground import (
    KEEPS_WHAT_IT_CONFIRMED,
    TIMINGS,
    Camp,
    battle_database,
    field_of,
)
from tests.support.network import Host, Network
from tests.support.pooler import Pooler, pooler
from tests.support.postgres import Database
from tests.support.remote import coordinator_on, dsn_by, server_on

_SERVER = {
    **KEEPS_WHAT_IT_CONFIRMED,
    # What a client in plain SQL has locked stays so until the server notices that it has gone.
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "4000",
}


@dataclass(frozen=True, slots=True)
class Afar:
    """A field over a network, and what of it can be struck."""

    field: Field
    hosts: list[Host]
    """Where daemons and clients are; the server's own is not among them."""
    pooler: Pooler


@asynccontextmanager
async def field_afar(chance: random.Random, *, daemons: int = 2) -> AsyncIterator[Afar]:
    """Let daemons work directly, and clients by a pooler, until the end of the block."""
    with Network.built(random.Random(chance.random())) as network:
        there = network.host()
        async with (
            _database_on(there) as database,
            pooler(database, "session", host=network.host(), server=there.address) as pool,
        ):
            hosts = [network.host() for _ in range(daemons + 1)]
            *for_daemons, for_clients = hosts
            camp = Camp(
                [_daemon(host, dsn_by(database, there)) for host in for_daemons],
                pool.dsn_as,
                for_clients.inside(),
            )
            async with field_of(database, camp, chance) as field:
                yield Afar(field, hosts, pool)


@asynccontextmanager
async def _database_on(host: Host) -> AsyncIterator[Database]:
    async with server_on(host, settings=_SERVER) as server:
        yield await battle_database(server)


def _daemon(host: Host, dsn: str) -> Spawn:
    timings = {f"COORDINATOR_{name.upper()}": value for name, value in TIMINGS.items()}
    return lambda: coordinator_on(host, "run", dsn=dsn, env=timings)
