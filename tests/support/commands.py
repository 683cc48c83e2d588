"""The installed `coordinator` as a command that ends: its exit code, its data, its words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.postgres import Database
from tests.support.processes import coordinator


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """What `--json` made of the error on stderr."""
        told: dict[str, Any] = json.loads(self.err)["error"]
        return told


async def ended(
    *arguments: str,
    on: Database | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run the installed script to its end, on a database if one is given."""
    environment = {**({"DATABASE_URL": on.dsn} if on else {}), **(env or {})}
    async with coordinator(*arguments, env=environment, cwd=cwd) as process:
        code = await process.wait()
        return Ended(code, process.stdout, process.stderr)


async def data_of(*arguments: str, on: Database) -> Any:
    """Run a command with `--json` that must succeed; return its document."""
    command = await ended(*arguments, "--json", on=on)
    assert command.code == 0, command
    return command.data
