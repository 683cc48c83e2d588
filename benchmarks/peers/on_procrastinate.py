"""procrastinate: `concurrency` is its setting for speed; its pool must be as large."""

import asyncio
import sys

from procrastinate import App, PsycopgConnector

from benchmarks.peers.telling import Entries, say, sent_now

_CONCURRENCY = {"default": 1, "fastest": 20}
_ENQUEUED_AT_ONCE = 5000


def _app(connections: int = 4) -> App:
    return App(connector=PsycopgConnector(min_size=2, max_size=connections))


async def install() -> None:
    """Make the schema."""
    app = _app()
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def enqueue(count: int) -> None:
    """Add jobs, many a statement."""
    app = _app()
    async with app.open_async():
        rest = app.configure_task("rest")
        for start in range(0, count, _ENQUEUED_AT_ONCE):
            size = min(_ENQUEUED_AT_ONCE, count - start)
            await rest.batch_defer_async(*[{"held": {}}] * size)


async def send(count: int, every: float) -> None:
    """Add jobs one by one."""
    app = _app()
    async with app.open_async():
        for _ in range(count):
            await app.configure_task("rest").defer_async(held=sent_now())
            await asyncio.sleep(every)


async def work(count: int, setting: str) -> None:
    """Work until SIGTERM."""
    entries = Entries(count)

    async def rest(held: dict[str, float]) -> None:
        entries.note(held)

    concurrency = _CONCURRENCY[setting]
    app = _app(concurrency + 4)
    app.task(name="rest")(rest)
    async with app.open_async():
        asyncio.get_running_loop().call_later(0.5, say, {"ready": True})
        await app.run_worker_async(concurrency=concurrency)


def main(command: str, *given: str) -> None:
    """Obey one command."""
    match command, given:
        case "install", ():
            asyncio.run(install())
        case "enqueue", (count,):
            asyncio.run(enqueue(int(count)))
        case "send", (count, every):
            asyncio.run(send(int(count), float(every)))
        case "work", (count, setting):
            asyncio.run(work(int(count), setting))


if __name__ == "__main__":
    main(*sys.argv[1:])
