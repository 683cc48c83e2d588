"""What the figures were measured on."""

import os
import platform
from pathlib import Path

import asyncpg


async def describe(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str | int]:
    """Name the processor, the memory, and the versions that matter."""
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": await connection.fetchval("select current_setting('server_version')"),
        "asyncpg": asyncpg.__version__,
        "load_1m": f"{os.getloadavg()[0]:.2f}",
    }


def _field(file: Path, name: str) -> str:
    """The first value of this name in a file of `name: value` lines; empty if there is none."""
    if not file.exists():
        return ""
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""
