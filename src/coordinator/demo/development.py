"""`coordinator dev`: a private PostgreSQL that keeps its data, and the daemon, until Ctrl-C."""

import shlex
import sys
from pathlib import Path

import anyio

from coordinator.demo.children import Children, interruptible
from coordinator.demo.options import DevOptions
from coordinator.demo.stage import (
    as_environment,
    inherited,
    migrated_server,
    runtime_directory,
    start_daemon,
)
from coordinator.demo.telling import Narrator

DATA_DIR = Path(".coordinator")
"""Where the data is kept when nobody says otherwise: below the working directory."""


async def dev(options: DevOptions) -> int:
    """Run both until SIGINT, SIGTERM or SIGHUP; return the exit code 0. The data stays.

    Raises ConfigError where there is no PostgreSQL to run, or where another one runs on the data.
    """
    narrator = Narrator(sys.stdout, as_json=options.json, color=options.color)
    directory = (options.data_dir or DATA_DIR).absolute()
    async with interruptible(), migrated_server(directory, options, durable=True) as server:
        _hide_from_git(directory)
        with runtime_directory(server) as runtime:
            async with Children.raised() as children:
                health = runtime / "health"
                await start_daemon(children, _environment(options, server.dsn(), health), runtime)
                _tell(narrator, server.dsn(), directory, health)
                await anyio.sleep_forever()
    return 0


def _environment(options: DevOptions, dsn: str, health: Path) -> dict[str, str]:
    """The daemon's: the user's settings before ours, and our DSN before everybody's."""
    ours = {
        # No port, so that several of these can run beside each other.
        "health_tcp": "off",
        "health_socket": health,
        "log_format": "json" if options.json else "pretty",
    }
    users = inherited(options.environ, ours=True)
    return as_environment(ours) | users | as_environment({"dsn": dsn})


def _tell(narrator: Narrator, dsn: str, directory: Path, health: Path) -> None:
    quoted = shlex.quote(dsn)
    narrator.show(
        f"A PostgreSQL of your own, with the coordinator on it, until Ctrl-C.\n"
        f"The data is kept in {directory}\n\n"
        f"  export DATABASE_URL={quoted}\n"
        f"  psql {quoted}\n"
        f"  coordinator health --socket {shlex.quote(str(health))}",
        event="dev.started",
        dsn=dsn,
        directory=directory,
        health_socket=health,
    )


def _hide_from_git(directory: Path) -> None:
    mark = directory / ".gitignore"
    if not mark.exists():
        mark.write_text("*\n")
