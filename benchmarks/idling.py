"""What an idle daemon costs: statements a second, and its share of one core in percent."""

import time

import anyio
import asyncpg

from benchmarks.machine import describe
from benchmarks.stage import stage

_SETTLES_WITHIN_S = 50.0
"""After a start there is an amnesty of 45 s, in which the daemon scans each second for agents that
come back without a word, and the tail looks less and less often until its longest pause."""


async def measure(seconds: float) -> dict[str, object]:
    """Watch an idle daemon with the default settings for so long."""
    async with stage(log_statements=True) as on:
        connection = await asyncpg.connect(on.dsn)
        machine = await describe(connection)
        await connection.close()
        await anyio.sleep(_SETTLES_WITHIN_S)
        statements, cpu_s, began = on.statements(), on.cpu_s(), time.monotonic()
        await anyio.sleep(seconds)
        lasted = time.monotonic() - began
        return {
            "seconds": round(lasted, 1),
            "statements_per_s": round((on.statements() - statements) / lasted, 3),
            "cpu_percent_of_a_core": round(100 * (on.cpu_s() - cpu_s) / lasted, 3),
            "machine": machine,
        }
