"""A primary and a standby under Patroni with etcd, configured as `deploy/patroni.yaml` says.

Debian's packages `patroni`, `etcd-server` and `postgresql-15` give the programs; none of their
services is used.
"""

import itertools
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from coordinator.embedded import PrivateServer
from coordinator.embedded.identity import Identity, identity_for
from coordinator.embedded.process import ChildProcess, spawn
from tests.support.node import LOST, PASSWORD, PATRONI, Node, Place, owned
from tests.support.postgres import TEMPLATE, Database, migrate
from tests.support.waiting import eventually

ETCD = "/usr/bin/etcd"
AVAILABLE = all(map(os.path.exists, (PATRONI, ETCD)))
TAKEN_OVER_WITHIN = timedelta(seconds=40)
"""Patroni's lock expires after 20 s; the rest is patience."""
_HEALTHY_WITHIN = timedelta(seconds=60)
_TAIL = 4000
"""Characters of a node's log that a failure shows."""


@dataclass(slots=True)
class PatroniCluster:
    """Two nodes, of which one leads."""

    nodes: tuple[Node, Node]
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def dsn(
        self, database: str = "postgres", *, user: str = "postgres", first: Node | None = None
    ) -> str:
        """Both hosts: whoever connects takes the one that is the primary."""
        first = first or self.nodes[0]
        hosts = ",".join(node.place[0] for node in (first, self.other(first)))
        return f"postgresql://{user}:{PASSWORD}@{hosts}/{database}?target_session_attrs=primary"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """A migrated database of the test's own, dropped at the end with whoever is in it."""
        await self.healthy()
        database = self._known(f"test_{next(self._numbers)}")
        await self._admin(f"create database {database.name} template {TEMPLATE}")
        # Who dials a standby that has not heard of it yet takes it for missing, and dials no other.
        await eventually(lambda: self._is_on_both(database.name))
        try:
            yield database
        finally:
            await self.healthy()
            await self._admin(f"drop database {database.name} with (force)")

    def other(self, node: Node) -> Node:
        """The node that this one is not."""
        return next(one for one in self.nodes if one is not node)

    async def leader(self) -> Node | None:
        """The node that holds Patroni's lock and answers, if one does."""
        for node in self.nodes:
            if await node.says("/primary"):
                return node
        return None

    async def healthy(self) -> Node:
        """Wait until both run and the standby streams, and return the primary.

        In synchronous mode, the standby also holds up every commit.
        """
        try:
            leader = await eventually(self._healthy, within=_HEALTHY_WITHIN)
        except AssertionError as error:
            for node in self.nodes:
                error.add_note(f"{node.name} says: …{node.log[-_TAIL:]}")
            raise
        assert leader is not None
        return leader

    async def configure(self, **settings: Any) -> None:
        """Change what both nodes share, as `patronictl edit-config` does."""
        leader = await self.healthy()
        await leader.ask("PATCH", "/config", settings)

    async def switchover(self) -> Node:
        """Let the standby take over in good order; return the new primary."""
        old = await self.healthy()
        new = self.other(old)
        await old.ask("POST", "/switchover", {"leader": old.name, "candidate": new.name})
        await eventually(new.takes_writes)
        return new

    async def migrate(self) -> None:
        """Make the template of the databases."""
        await self._admin(f"create database {TEMPLATE}")
        async with self._known(TEMPLATE).connect() as connection:
            await migrate(connection)
        await self._admin(f"alter database {TEMPLATE} is_template true")

    async def _healthy(self) -> Node | None:
        leader = await self.leader()
        if leader is None:
            return None
        standby = self.other(leader)
        with suppress(*LOST):
            kind = "sync" if await self.is_synchronous(leader) else "async"
            if not await standby.says(f"/{kind}"):
                return None
            async with leader.connect() as connection:
                follows = await connection.fetchval(
                    "select state = 'streaming' and sync_state = $2 from pg_stat_replication"
                    " where application_name = $1",
                    standby.name,
                    kind,
                )
                return leader if follows else None
        return None

    @staticmethod
    async def is_synchronous(node: Node) -> bool:
        """Whether commits shall wait for the standby, as far as this node knows."""
        return bool(json.loads(await node.ask("GET", "/config"))["synchronous_mode"])

    async def _is_on_both(self, database: str) -> bool:
        with suppress(*LOST):
            for node in self.nodes:
                async with node.connect(database):
                    pass
            return True
        return False

    def _known(self, database: str) -> Database:
        # All that is asked of a database's server is the way to it, and the nodes know that too.
        return Database(database, cast(PrivateServer, self))

    async def _admin(self, statement: str) -> None:
        async with self._known("postgres").connect() as connection:
            await connection.execute(statement)


@asynccontextmanager
async def patroni_cluster() -> AsyncIterator[PatroniCluster]:
    """Run etcd and two nodes until the end of the block; nothing of them is left."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        directory = Path(name)
        identity = identity_for(directory / "none")
        identity.own(directory)
        place = Place.find(2)
        async with AsyncExitStack() as kept:
            etcd = _start_etcd(place, owned(directory / "etcd", identity), identity)
            kept.push_async_callback(etcd.stop)
            first, second = (
                Node.make(name, directory, identity, etcd=place[0]) for name in ("node1", "node2")
            )
            cluster = PatroniCluster((first, second))
            for node in cluster.nodes:
                kept.push_async_callback(node.stop)
            await first.launch()
            await eventually(lambda: first.says("/primary"), within=_HEALTHY_WITHIN)
            await second.launch()
            await cluster.healthy()
            await cluster.migrate()
            yield cluster


def _start_etcd(place: Place, directory: Path, identity: Identity) -> ChildProcess:
    clients, peers = (f"http://{place[number]}" for number in range(2))
    return spawn(
        Path(ETCD),
        [
            *("--data-dir", str(directory / "data"), "--log-level=warn"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        ],
        identity=identity,
        directory=directory,
        log=directory / "log",
    )
