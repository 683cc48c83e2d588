"""The commands that keep something running: `run`, `demo`, `dev`."""

import os
import socket
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from coordinator import __version__
from coordinator.cli.common import Common, common_options, json_option, required_dsn, wants_json
from coordinator.cli.output import goes_to_journal, wants_color
from coordinator.cli.settings_options import SettingsCommand

if TYPE_CHECKING:
    from coordinator.config import Settings
    from coordinator.telemetry import Telemetry

_FOLDER = click.Path(file_okay=False, path_type=Path)
_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_pg_bin = click.option(
    "--pg-bin",
    type=_EXISTING_FOLDER,
    help="Folder with postgres and initdb; without it the usual places are searched.",
)


_EXAMPLES = """\b
Examples:
  coordinator run --dsn-file /etc/coordinator/dsn
  DATABASE_URL=postgresql://user@host/database coordinator run --stale-after 1m
"""


@click.command(cls=SettingsCommand, epilog=_EXAMPLES)
@common_options
def run(common: Common, **flags: object) -> int:
    """Run the daemon until a signal asks it to stop.

    Any number may run on one database: one leads, the others stand by. A lost database is waited
    out. SIGTERM drains and ends with 0; SIGHUP reads the configuration again.
    """
    import anyio

    from coordinator.daemon.run import run as run_daemon

    if common.as_json:
        flags["log_format"] = "json"

    def load() -> "Settings":
        return common.settings(flags)

    settings = load()
    required_dsn(settings)
    instance = uuid4()
    telemetry = _telemetry(settings, instance=f"{socket.gethostname()}/{instance}")
    try:
        return anyio.run(
            partial(run_daemon, instance=instance),
            settings,
            telemetry,
            os.environ,
            load,
            backend_options={"use_uvloop": find_spec("uvloop") is not None},
        )
    finally:
        telemetry.close()


@click.command()
@_pg_bin
@click.option("--data-dir", type=_FOLDER, help="Where the data is kept; a temporary folder if not.")
@click.option("--forever", is_flag=True, help="Keep everything running until interrupted.")
@json_option
def demo(*, pg_bin: Path | None, data_dir: Path | None, forever: bool, as_json: bool) -> int:
    """Show the whole job on a private PostgreSQL, in under 20 seconds.

    Starts a server and the daemon, and three agents that hand work to each other, with a crash and
    a recovery. Leaves nothing running.
    """
    import anyio

    from coordinator.demo import demo as show
    from coordinator.demo.options import DemoOptions

    options = DemoOptions(
        pg_bin=pg_bin,
        data_dir=data_dir,
        json=wants_json(here=as_json),
        color=wants_color(sys.stdout),
        environ=dict(os.environ),
        forever=forever,
    )
    return anyio.run(show, options)


@click.command()
@_pg_bin
@click.option(
    "--data-dir",
    type=_FOLDER,
    help="Where the data is kept from one time to the next; .coordinator here if not given.",
)
@json_option
def dev(*, pg_bin: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Run the daemon on a private PostgreSQL that keeps its data, and print its DSN.

    For development: ends when interrupted, and finds its data again the next time.
    """
    import anyio

    from coordinator.demo import dev as develop
    from coordinator.demo.options import DevOptions

    options = DevOptions(
        pg_bin=pg_bin,
        data_dir=data_dir,
        json=wants_json(here=as_json),
        color=wants_color(sys.stdout),
        environ=dict(os.environ),
    )
    return anyio.run(develop, options)


def _telemetry(settings: "Settings", *, instance: str) -> "Telemetry":
    from coordinator.telemetry import configure

    return configure(
        format=settings.log_format,
        level=settings.log_level,
        stream=sys.stdout,
        service_version=__version__,
        instance=instance,
        log_content=settings.log_content,
        color=wants_color(sys.stdout),
        priorities=goes_to_journal(sys.stdout),
    )
