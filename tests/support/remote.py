"""A server, daemons and other programs, each on a host of its own; see `network`."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from coordinator.embedded import PrivateServer, ServerBinaries
from coordinator.embedded.identity import Identity
from coordinator.embedded.process import ChildProcess
from coordinator.embedded.server import SUPERUSER
from tests.support.network import Host
from tests.support.postgres import THROW_AWAY, Cluster, Database, chosen_binaries, migrated_cluster
from tests.support.processes import SCRIPT, RunningProcess, running

PORT = 5432


class RemoteServer(PrivateServer):
    """A server that listens on its host's address; its unix socket is the referee's way in."""

    host: Host

    def _spawn_postgres(self, identity: Identity) -> ChildProcess:
        with self.host.entered():
            return super()._spawn_postgres(identity)


@asynccontextmanager
async def server_on(
    host: Host, binaries: ServerBinaries | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[RemoteServer]:
    """Run a server on a host; at the end of the block it is gone, with its data."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        access = Path(name, "pg_hba.conf")
        access.write_text("local all all trust\nhost all all all trust\n")
        server = RemoteServer(
            Path(name, "server"),
            binaries or chosen_binaries(),
            {
                **THROW_AWAY,
                "listen_addresses": host.address,
                "hba_file": str(access),
                **(settings or {}),
            },
            durable=False,
        )
        server.host = host
        await server.launch()
        try:
            yield server
        finally:
            await server.stop()


@asynccontextmanager
async def cluster_on(host: Host) -> AsyncIterator[Cluster]:
    """Run a server with a migrated template on a host."""
    async with server_on(host) as server:
        yield await migrated_cluster(server)


def dsn_by(
    database: Database, *hosts: Host, user: str = SUPERUSER, ports: Sequence[int] = ()
) -> str:
    """The way to a database over the network, by hosts that are tried in this order."""
    numbered = zip(hosts, ports or [PORT] * len(hosts), strict=True)
    places = ",".join(f"{host.address}:{port}" for host, port in numbered)
    return f"postgresql://{user}@{places}/{database.name}?sslmode=disable"


def coordinator_on(
    host: Host, *arguments: str, dsn: str, env: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[RunningProcess]:
    """Run the installed script on a host; only the DSN and `env` configure it."""
    return running(
        host.inside(SCRIPT, *arguments),
        env={
            "DATABASE_URL": dsn,
            "COORDINATOR_HEALTH_TCP": "off",
            "COORDINATOR_LOG_FORMAT": "json",
            **(env or {}),
        },
    )
