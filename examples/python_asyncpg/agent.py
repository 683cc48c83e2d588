"""An agent in plain SQL: it needs a PostgreSQL client and nothing of the coordinator.

Usage: DATABASE_URL=postgresql://… python agent.py [how many handoffs to do before leaving]
"""

import asyncio
import json
import os
import sys

import asyncpg

NAME = "plain-python"
HEARTBEAT_S = 10

REGISTER = """
    insert into agent_status (agent_name) values ($1)
    on conflict (agent_name) do update set status = 'idle', last_seen = now()
"""
# Said after each handoff: if it took too long and was taken back, the agent is blocked until it
# says so. Otherwise it is idle already, or holds the next handoff, which this does not disturb.
FREE = "update agent_status set status = 'idle', last_seen = now() where agent_name = $1"
HEARTBEAT = "update agent_status set last_seen = now() where agent_name = $1"
LEAVE = (
    "update agent_status set status = 'blocked', blocked_reason = 'offline' where agent_name = $1"
)
MINE = """
    select id, attempt, task_description from handoffs
    where assigned_agent = $1 and status = 'in_progress'
"""
# The attempt is the proof that the work is still ours; no row is updated once it is not.
COMPLETE = """
    update handoffs set status = 'completed', result = $3
    where id = $1 and attempt = $2 and status = 'in_progress'
"""


async def work(handoff: asyncpg.Record) -> dict[str, str]:
    return {"text": handoff["task_description"].upper()}


async def main(todo: int) -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    pushed = asyncio.Event()
    channel = await connection.fetchval("select agent_channel($1)", NAME)
    await connection.add_listener(channel, lambda *_: pushed.set())
    await connection.execute(REGISTER, NAME)
    while todo:
        pushed.clear()
        # A push is a hint and may be lost: the row is the truth, so look at every heartbeat too.
        handoff = await connection.fetchrow(MINE, NAME)
        if handoff is None:
            await wait_for_a_push(connection, pushed)
            continue
        working = asyncio.create_task(work(handoff))
        while not (await asyncio.wait({working}, timeout=HEARTBEAT_S))[0]:
            await connection.execute(HEARTBEAT, NAME)
        result = json.dumps(working.result())
        print(await connection.execute(COMPLETE, handoff["id"], handoff["attempt"], result))
        await connection.execute(FREE, NAME)
        todo -= 1
    await connection.execute(LEAVE, NAME)
    await connection.close()


async def wait_for_a_push(connection: asyncpg.Connection, pushed: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(pushed.wait(), HEARTBEAT_S)
    except TimeoutError:
        await connection.execute(HEARTBEAT, NAME)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else -1))
