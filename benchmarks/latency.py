"""How long from `insert into handoffs` to the notification on the agent's channel, in milliseconds.

The insert is plain SQL in a transaction of its own, with a durable commit; the agent is an asyncpg
listener; the daemon runs with its default settings. One handoff at a time: an idle system.
"""

import statistics
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio
import asyncpg

from benchmarks.machine import describe
from benchmarks.stage import stage

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
_AGENT = "ada"
_WARM_UP = 20


async def measure(rounds: int) -> dict[str, object]:
    """Measure so many handoffs, one after the other."""
    async with stage() as on:
        sender, agent = await asyncpg.connect(on.dsn), await asyncpg.connect(on.dsn)
        try:
            taken = await _take(sender, agent, rounds + _WARM_UP)
            machine = await describe(sender)
        finally:
            sender.terminate()
            agent.terminate()
    return {"rounds": rounds, **_summary(taken[_WARM_UP:]), "machine": machine}


async def _take(sender: "Connection", agent: "Connection", rounds: int) -> list[float]:
    incarnation = uuid4()
    send, receive = anyio.create_memory_object_stream[float](1)
    await agent.execute("select from register_agent($1, $2)", _AGENT, incarnation)
    channel = await agent.fetchval("select agent_channel($1)", _AGENT)
    await agent.add_listener(channel, lambda *_: send.send_nowait(time.perf_counter()))
    taken = []
    with send, receive:
        for _ in range(rounds):
            began = time.perf_counter()
            handoff_id = await sender.fetchval(
                "insert into handoffs (from_agent, to_agent, task_description)"
                " values ('eve', $1, 'do it') returning id",
                _AGENT,
            )
            with anyio.fail_after(10):
                taken.append(await receive.receive() - began)
            await sender.fetchval(
                "select complete_handoff($1, 1, $2, $3)", handoff_id, _AGENT, incarnation
            )
    return taken


def _summary(taken_s: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles([1000 * taken for taken in taken_s], n=100)
    return {
        "p50_ms": round(cuts[49], 3),
        "p95_ms": round(cuts[94], 3),
        "p99_ms": round(cuts[98], 3),
        "max_ms": round(1000 * max(taken_s), 3),
    }
