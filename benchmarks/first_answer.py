"""How long from the start of `coordinator mcp` to its first answers, in seconds, as a client waits.

A client starts it on pipes, says hello as one of 2025 does and asks for the tools; one start after
the other. The database is there, but neither answer needs it.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import asyncpg
from anyio import to_thread

from benchmarks.machine import describe
from benchmarks.stage import SCRIPT, stage

_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


async def measure(starts: int) -> dict[str, object]:
    """Measure so many starts; the first, which fills the disk's cache, does not count."""
    async with stage() as on:
        connection = await asyncpg.connect(on.dsn)
        machine = await describe(connection)
        await connection.close()
        environment = {**os.environ, "DATABASE_URL": on.dsn}
        taken = [await to_thread.run_sync(_start, environment) for _ in range(starts + 1)][1:]
    hello, tools, processor = zip(*taken, strict=True)
    return {
        "starts": starts,
        "initialize_s": _summary(hello),
        "tools_list_s": _summary(tools),
        "processor_s": _summary(processor),
        "machine": machine,
    }


def _start(environment: dict[str, str]) -> tuple[float, float, float]:
    """Return when it said hello, when it had told its tools, and its processor time until then."""
    began = time.perf_counter()
    with subprocess.Popen(
        [SCRIPT, "mcp", "--agent", "bench"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as server:
        _ask(server, id=1, method="initialize", params=_HELLO)
        hello = time.perf_counter() - began
        _ask(server, id=2, method="tools/list")
        tools = time.perf_counter() - began
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        server.kill()
    return hello, tools, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(server: "subprocess.Popen[bytes]", **message: object) -> None:
    if server.stdin is None or server.stdout is None:
        raise RuntimeError("the server has no pipes")
    server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    server.stdin.flush()
    if b'"result"' not in server.stdout.readline():
        raise RuntimeError("the server did not answer")


def _summary(taken_s: tuple[float, ...]) -> dict[str, float]:
    return {
        "best": round(min(taken_s), 3),
        "p50": round(statistics.median(taken_s), 3),
        "worst": round(max(taken_s), 3),
    }
