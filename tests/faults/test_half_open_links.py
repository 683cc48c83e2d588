"""A link that is silent for ever: both ends believe in it, and nothing passes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import ByteStream

from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Database

SOCKET = ".s.PGSQL.5432"
SOON = timedelta(seconds=3)


async def test_a_daemon_whose_links_all_went_silent_finds_it_out_and_leads_again(
    database: Database, world: World, tmp_path: Path
) -> None:
    await world.agent("ada")
    async with (
        silencer(database, tmp_path) as links,
        leader(links.dsn, listener_probe="200ms") as process,
    ):
        links.silence_all()
        await process.seen("listener.lost", within=timedelta(seconds=8))

        # The server still believes in the old session, and so in the old leader.
        await process.seen("leadership.acquired", within=SOON, term=2)
        handoff_id = await world.handoff("ada")
        await process.seen("handoff.dispatched", within=SOON, handoff_id=str(handoff_id))


@dataclass(slots=True)
class Silencer:
    """A relay in front of a server's socket, that can stop relaying without hanging up."""

    dsn: str
    _relays: list[anyio.CancelScope] = field(default_factory=list)

    def silence_all(self) -> None:
        """Let nothing pass any more over the links of now; later ones work."""
        for relay in self._relays:
            relay.cancel()

    async def relay(self, source: ByteStream, target: ByteStream) -> None:
        """Pass on what comes, until the end or the silence."""
        with anyio.CancelScope() as scope:
            self._relays.append(scope)
            try:
                async for chunk in source:
                    await target.send(chunk)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
            await target.aclose()


@asynccontextmanager
async def silencer(database: Database, directory: Path) -> AsyncIterator[Silencer]:
    """Relay between a socket in this directory and the database's, until the end of the block."""
    server = parse_qs(urlsplit(database.dsn).query)["host"][0]
    dsn = f"postgresql://postgres@/{database.name}?host={directory}&port=5432"
    links = Silencer(dsn)
    async with AsyncExitStack() as kept, anyio.create_task_group() as tasks:

        async def serve(client: ByteStream) -> None:
            upstream = await anyio.connect_unix(Path(server, SOCKET))
            kept.push_async_callback(upstream.aclose)
            kept.push_async_callback(client.aclose)
            async with anyio.create_task_group() as both:
                both.start_soon(links.relay, client, upstream)
                both.start_soon(links.relay, upstream, client)
            await anyio.sleep_forever()  # silent, but open

        listener = await anyio.create_unix_listener(directory / SOCKET)
        tasks.start_soon(listener.serve, serve)
        yield links
        tasks.cancel_scope.cancel()
        await listener.aclose()
