"""The floor of an arrival, a process for each part: `python -m benchmarks.hops`.

DSN send COUNT EVERY      insert handoffs one by one as ours are; each holds when it was sent
DSN send-and-ring ...     the same where no trigger notifies: the insert's statement does
DSN relay                 hear of each, write both rows in one statement that notifies the agent
DSN agent COUNT           hear that, and say how old each was; see benchmarks/peers/telling.py
"""

import asyncio
import json
import sys

import asyncpg
import uvloop

from benchmarks.agents import name_of
from benchmarks.floor import statement
from benchmarks.peers.telling import Entries, say, sent_now

_BELL, _AGENT = "bell", "agent"


async def send(dsn: str, count: int, every: float, *, ring: bool) -> None:
    """Insert one by one, each in a transaction of its own."""
    connection = await asyncpg.connect(dsn)
    insert = await connection.prepare(statement("send_and_ring" if ring else "send"))
    for _ in range(count):
        await insert.fetch(name_of(0), json.dumps(sent_now()))
        await asyncio.sleep(every)
    await connection.close()


async def relay(dsn: str) -> None:
    """Write and notify as soon as something is heard; until SIGTERM."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    connection = await asyncpg.connect(dsn)
    pass_on = await connection.prepare(statement("relay"))
    await connection.add_listener(_BELL, lambda *said: heard.put_nowait(str(said[-1])))
    say({"ready": True})
    while True:
        told = json.loads(await heard.get())
        await pass_on.fetch(told["id"], name_of(0), json.dumps(told["context"]))


async def agent(dsn: str, count: int) -> None:
    """Enter a handler that does nothing as soon as something is heard; until SIGTERM."""
    entries = Entries(count)
    connection = await asyncpg.connect(dsn)
    await connection.add_listener(_AGENT, lambda *said: entries.note(json.loads(str(said[-1]))))
    say({"ready": True})
    await asyncio.Event().wait()


def main(dsn: str, part: str, *given: str) -> None:
    """Be one part."""
    match part, given:
        case "send" | "send-and-ring", (count, every):
            uvloop.run(send(dsn, int(count), float(every), ring=part == "send-and-ring"))
        case "relay", ():
            uvloop.run(relay(dsn))
        case "agent", (count,):
            uvloop.run(agent(dsn, int(count)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
