"""The commands of one agent: `agent run`, which wraps a command; the others are elsewhere."""

import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import Common, common_options, required_dsn
from coordinator.cli.ending import Unfit
from coordinator.cli.hook import hook
from coordinator.cli.inputs import Duration
from coordinator.cli.install import install
from coordinator.cli.output import note, say, say_json, warn
from coordinator.cli.webhook import webhook
from coordinator.core.errors import ExitCode

if TYPE_CHECKING:
    from coordinator.agents.runner import Answered
    from coordinator.agents.runner.worktree import Repository

_FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
# By the interpreter, wherever the script is. Without -P a folder's own `coordinator` would be run.
_MCP_SERVER = (sys.executable, "-P", "-m", "coordinator", "mcp")
PROFILE_NAMES = ("plain", "claude", "codex", "gemini")
_EXAMPLES = """\b
Examples:
  coordinator agent run --name linter --role checker -- ./lint.sh
  coordinator agent run --name claude-1 --role implementer --profile claude --worktree
  coordinator agent run --name codex-1 --profile codex --timeout 30m
"""


@click.group(no_args_is_help=False)
def agent() -> None:
    """Be an agent."""


agent.add_command(install)
agent.add_command(webhook)


@agent.command(epilog=_EXAMPLES)
@click.option("--name", required=True, help="The agent's name.")
@click.option("--role", "roles", multiple=True, help="A further address that it answers to.")
@click.option("--cwd", type=_FOLDER, default=".", help="Where the command runs; here if not given.")
@click.option(
    "--profile",
    "kind",
    type=click.Choice(PROFILE_NAMES),
    default="plain",
    show_default=True,
    help="What COMMAND is if none is given, and how its result is read.",
)
@click.option(
    "--timeout",
    type=Duration(above_zero=True),
    help="End the command after so long, and try the handoff again.",
)
@click.option(
    "--grace",
    type=Duration(),
    default="10s",
    show_default=True,
    help="Between TERM and KILL, and how long a signal to the runner waits for the command.",
)
@click.option(
    "--progress-every",
    type=Duration(above_zero=True),
    default="10s",
    show_default=True,
    help="Report the last line of the output as progress, at most so often.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Let a client go on in the thread that it had for the same chain of handoffs.",
)
@click.option("--worktree", is_flag=True, help="Give each attempt a git worktree and a branch.")
@click.option(
    "--pass-env",
    "passed",
    multiple=True,
    metavar="NAME",
    help="Let the command have this variable: DATABASE_URL, COORDINATOR_... or PG... is kept from "
    "it otherwise.",
)
@click.option("--once", is_flag=True, help="End after one handoff.")
@common_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(
    common: Common,
    *,
    name: str,
    roles: tuple[str, ...],
    cwd: Path,
    kind: str,
    timeout: timedelta | None,
    grace: timedelta,
    progress_every: timedelta,
    resume: bool,
    worktree: bool,
    passed: tuple[str, ...],
    once: bool,
    command: tuple[str, ...],
) -> int:
    """Be an agent whose work is done by COMMAND, started once for each handoff.

    The task comes on stdin, the whole handoff as JSON in the file that COORDINATOR_CONTEXT_FILE
    names; both were written by another agent. A plain command's exit code decides: 0 succeeds with
    its stdout, 75 is tried again, any other fails. SIGTERM gives the work under way back, and ends
    with 0.
    """
    import anyio

    from coordinator.agents.runner import Orders, run_agent
    from coordinator.agents.runner.given import inherited
    from coordinator.agents.runner.profiles import PROFILES

    profile = PROFILES[kind]
    _check_resume(resume=resume, can=profile.is_model and not command, worktree=worktree)
    environ = inherited(os.environ, passed=passed)
    _check_command(command[0] if command else profile.program, cwd, environ.get("PATH"))
    settings = common.settings()
    dsn = required_dsn(settings)

    def tell(answered: "Answered") -> None:
        if common.as_json:
            say_json(answered, indent=None)
            return
        if answered.trouble:
            warn(answered.trouble)
        kept = answered.worktree and answered.worktree["path"]
        where = f", work in {kept}" if kept else ""
        say(f"{answered.handoff_id} attempt {answered.attempt}: {answered.outcome}{where}")

    async def work() -> None:
        repository = await _repository(cwd, environ) if worktree else None
        orders = Orders(
            command=command,
            profile=profile,
            tools=_MCP_SERVER,
            resume=resume,
            cwd=cwd,
            environ=repository.environ if repository else environ,
            timeout=timeout,
            grace=grace,
            progress_every=progress_every,
            repository=repository,
        )
        await run_agent(
            dsn,
            name,
            orders,
            roles=roles,
            heartbeat_interval=settings.heartbeat_interval,
            once=once,
            ready=lambda: note(f"agent {name} waits for handoffs"),
            tell=tell,
        )

    anyio.run(work)
    return ExitCode.OK


agent.add_command(hook)


async def _repository(cwd: Path, environ: dict[str, str]) -> "Repository":
    from coordinator.agents.runner.worktree import Repository

    return await Repository.at(cwd, environ)


def _check_resume(*, resume: bool, can: bool, worktree: bool) -> None:
    if resume and not can:
        raise click.UsageError("--resume is for a profile's own command: claude, codex or gemini")
    if resume and worktree:
        raise click.UsageError("--resume and --worktree: a client finds a thread by its folder")


def _check_command(program: str | None, cwd: Path, path: str | None) -> None:
    if program is None:
        raise click.UsageError("no COMMAND is given, and a plain one has no default")
    # A path is one from where the command runs; a plain name is looked up.
    found = shutil.which(cwd / program if "/" in program else program, path=path)
    if found is None:
        raise Unfit(
            f"the command {program!r} is not there, or may not be run",
            fix="Install it, or name it by its path (from --cwd).",
        )
