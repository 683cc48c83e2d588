"""The root of the commands, and the way in from the installed script."""

import os
import sys

import click

from coordinator import __version__
from coordinator.cli.agent import agent
from coordinator.cli.agents import agents
from coordinator.cli.common import DEBUG_VARIABLE, json_option
from coordinator.cli.completions import completions
from coordinator.cli.config import config
from coordinator.cli.ending import Ending
from coordinator.cli.events import events
from coordinator.cli.handoffs import handoffs
from coordinator.cli.health import health
from coordinator.cli.inputs import check_text
from coordinator.cli.mcp import mcp
from coordinator.cli.output import note, say, say_json
from coordinator.cli.running import demo, dev, run
from coordinator.cli.schema import doctor, migrate
from coordinator.cli.service import install_service, reload
from coordinator.cli.status import status
from coordinator.cli.tasks import tasks
from coordinator.core.errors import ExitCode

SERVERS = (15, 16, 17, 18)
"""The major versions of PostgreSQL that are supported."""


class _InOrder(click.Group):
    """Lists its commands in the order in which they were added: the usual way through them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


_BEGIN = """\b
Try it without a database of your own:
  coordinator demo
Begin with your own:
  export DATABASE_URL=postgresql://user:password@host:5432/database
  coordinator migrate
  coordinator run
"""


@click.group(cls=_InOrder, invoke_without_command=True, no_args_is_help=False, epilog=_BEGIN)
@click.option("--version", is_flag=True, help="Show the version, its schema, and the servers.")
@json_option
@click.pass_context
def coordinator(ctx: click.Context, *, version: bool, as_json: bool) -> int:
    """Hand work between AI agents, dependably, with all state in PostgreSQL."""
    if version:
        _show_version(as_json=as_json)
        return ExitCode.OK
    if ctx.invoked_subcommand is None:
        note(ctx.get_help())
        return ExitCode.USAGE
    return ExitCode.OK


for _command in (
    run,
    migrate,
    doctor,
    demo,
    dev,
    status,
    agent,
    agents,
    handoffs,
    tasks,
    events,
    mcp,
    health,
    reload,
    config,
    install_service,
    completions,
):
    coordinator.add_command(_command)


def main() -> None:
    """Run the command that the arguments name, and end the process with its exit code."""
    arguments = sys.argv[1:]
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    with Ending(as_json="--json" in options, with_traceback=bool(os.environ.get(DEBUG_VARIABLE))):
        check_text(arguments)
        code = coordinator.main(arguments, prog_name="coordinator", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _show_version(*, as_json: bool) -> None:
    from coordinator.store.halves import Half
    from coordinator.store.migrations import migrations

    schema = migrations(Half.COORDINATION)[-1].version
    if as_json:
        say_json({"version": __version__, "schema_version": schema, "servers": SERVERS})
        return
    say(f"coordinator {__version__}")
    say(f"schema {schema}")
    say(f"PostgreSQL {SERVERS[0]} to {SERVERS[-1]}")
