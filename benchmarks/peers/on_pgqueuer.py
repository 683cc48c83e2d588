"""pgqueuer: `batch_size` is its one setting for speed; uvloop is what its documentation runs on."""

import asyncio
import json
import signal
import sys

import asyncpg
import uvloop
from pgqueuer import Job, PgQueuer
from pgqueuer.queries import Queries

from benchmarks.peers.telling import Entries, say, sent_now

_BATCH = {"default": 10, "fastest": 1000}
_ENQUEUED_AT_ONCE = 5000


async def install() -> None:
    """Make the schema."""
    connection = await asyncpg.connect()
    await Queries.from_asyncpg_connection(connection).install()
    await connection.close()


async def enqueue(count: int) -> None:
    """Add jobs, many a statement."""
    connection = await asyncpg.connect()
    queries = Queries.from_asyncpg_connection(connection)
    for start in range(0, count, _ENQUEUED_AT_ONCE):
        size = min(_ENQUEUED_AT_ONCE, count - start)
        await queries.enqueue(["rest"] * size, [b"{}"] * size, [0] * size)
    await connection.close()


async def send(count: int, every: float) -> None:
    """Add jobs one by one."""
    connection = await asyncpg.connect()
    queries = Queries.from_asyncpg_connection(connection)
    for _ in range(count):
        await queries.enqueue("rest", json.dumps(sent_now()).encode())
        await asyncio.sleep(every)
    await connection.close()


async def work(count: int, setting: str) -> None:
    """Work until SIGTERM."""
    entries = Entries(count)

    async def rest(job: Job) -> None:
        entries.note(json.loads(job.payload))

    async with asyncpg.create_pool(min_size=2, max_size=10) as pool:
        queuer = PgQueuer.from_asyncpg_pool(pool)
        queuer.entrypoint("rest")(rest)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queuer.shutdown.set)
        asyncio.get_running_loop().call_later(0.5, say, {"ready": True})
        await queuer.run(batch_size=_BATCH[setting])


def main(command: str, *given: str) -> None:
    """Obey one command."""
    match command, given:
        case "install", ():
            uvloop.run(install())
        case "enqueue", (count,):
            uvloop.run(enqueue(int(count)))
        case "send", (count, every):
            uvloop.run(send(int(count), float(every)))
        case "work", (count, setting):
            uvloop.run(work(int(count), setting))


if __name__ == "__main__":
    main(*sys.argv[1:])
