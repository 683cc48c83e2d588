"""The command `agent install`: puts an agent into the configuration of a model's client."""

import os
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from coordinator.cli.common import Common, json_option, required_dsn, wants_json
from coordinator.cli.ending import NEGATIVE, Unfit
from coordinator.cli.inputs import READABLE_FILE
from coordinator.cli.output import note, say, say_json, warn
from coordinator.core.errors import ConfigError, ExitCode
from coordinator.operate.table import printable

if TYPE_CHECKING:
    from coordinator.agents.clients.opened import Planned
    from coordinator.agents.clients.plan import Plan, Where

CLIENT_NAMES = ("claude", "codex", "gemini", "cursor", "antigravity", "trae")
_SCOPES = ("project", "user")
_FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+(?=@)")
_EXAMPLES = """\b
Examples:
  coordinator agent install claude --agent claude-1 --role reviewer
  coordinator agent install codex --agent codex-1 --scope user --dsn-file ~/.coordinator-dsn
  coordinator agent install gemini --agent gemini-1 --dry-run
  coordinator agent install claude --undo
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    """How the command was asked to go about it."""

    undo: bool
    yes: bool
    dry_run: bool
    as_json: bool


@click.command(epilog=_EXAMPLES)
@click.argument("client", type=click.Choice(CLIENT_NAMES))
@click.option("--agent", "name", help="The agent's name; needed, but with --undo.")
@click.option(
    "--role", "roles", multiple=True, help="Another address it answers to; may be repeated."
)
@click.option(
    "--scope",
    type=click.Choice(_SCOPES),
    default="project",
    show_default=True,
    help="For whoever works in this folder, or for this user everywhere.",
)
@click.option("--cwd", type=_FOLDER, default=".", help="The project's folder; here if not given.")
@click.option(
    "--dsn-file",
    type=READABLE_FILE,
    help="File with the DSN, which the server will read. DATABASE_URL is handed on if not given.",
)
@click.option("--no-hooks", is_flag=True, help="Leave out the hooks, which wake a session.")
@click.option("--yes", is_flag=True, help="Do not ask before writing.")
@click.option("--dry-run", is_flag=True, help="Show the change, and write nothing.")
@click.option("--undo", "is_undo", is_flag=True, help="Take out what is ours.")
@json_option
def install(
    *,
    client: str,
    name: str | None,
    roles: tuple[str, ...],
    scope: str,
    cwd: Path,
    dsn_file: Path | None,
    no_hooks: bool,
    yes: bool,
    dry_run: bool,
    is_undo: bool,
    as_json: bool,
) -> int:
    """Put an agent into a client's configuration: the MCP server, and hooks that wake a session.

    Shows the change of our own entries and asks. What else is in the files stays as it is, and is
    not shown; --undo takes out what is ours. May be run again, as with another name or role. No
    file ever gets the DSN itself.
    """
    from coordinator.agents.clients import plan
    from coordinator.agents.clients.commands import Wanted

    asked = _Asked(is_undo, yes, dry_run, wants_json(here=as_json))
    where = _where(client, scope, cwd)
    if is_undo:
        if roles or dsn_file or no_hooks:
            raise click.UsageError("--role, --dsn-file and --no-hooks are not for --undo")
        return _carry_out(plan.undo(where, name), where, asked, [])
    if name is None:
        raise click.UsageError("--agent is missing: the name that the agent is to have")
    for word in (name, *roles):
        _check_name(word)
    _check_dsn(dsn_file)
    file = str(dsn_file.absolute()) if dsn_file else None
    wanted = Wanted(_own_program(), name, roles, file)
    planned = plan.install(where, wanted, with_hooks=not no_hooks)
    notes = [*where.client.notes.get(where.scope, ())]
    if where.client.without_dsn_file and file is None:
        notes.append(where.client.without_dsn_file)
    if find_spec("mcp") is None:
        notes.append("the server needs the extra: pip install 'agent-coordinator[mcp]'")
    if planned.before not in (None, name):
        notes.insert(0, f"agent {planned.before} becomes {name}")
    return _carry_out(planned, where, asked, notes)


def _where(client: str, scope: str, cwd: Path) -> "Where":
    from coordinator.agents.clients.described import CLIENTS, Machine, Scope
    from coordinator.agents.clients.plan import Where

    home = Path.home()
    state = os.environ.get("XDG_STATE_HOME") or str(home / ".local" / "state")
    machine = Machine(home, cwd, os.environ, is_mac=sys.platform == "darwin")
    memories = Path(state) / "coordinator" / "clients"
    return Where(CLIENTS[client], Scope(scope), machine, memories)


def _carry_out(plan: "Plan", where: "Where", asked: _Asked, notes: list[str]) -> int:
    if not asked.as_json:
        _show(plan, where, asked)
    notes = [*plan.left, *(notes if plan.files else [])]
    if not plan.files or asked.dry_run:
        _tell(plan, where, asked, notes, written=False)
        return ExitCode.OK
    if not asked.yes and not _agreed(asked):
        note("nothing was written")
        return NEGATIVE
    from coordinator.agents.clients.files import write

    write(plan.changes, then_remove=plan.folders)
    _tell(plan, where, asked, notes, written=True)
    return ExitCode.OK


def _tell(plan: "Plan", where: "Where", asked: _Asked, notes: list[str], *, written: bool) -> None:
    if asked.as_json:
        say_json(_told(plan, where, notes, written=written))
        return
    for planned in plan.files if written else ():
        note(f"{planned.deed}: {planned.change.path}")
    for each in notes:
        note(f"note: {each}")


def _show(plan: "Plan", where: "Where", asked: _Asked) -> None:
    for planned in plan.files:
        say(_diff(planned, where).rstrip("\n"))
        for place in planned.edited:
            warn(f"edited by hand, and goes all the same: {place}")
    if not plan.files:
        note("nothing of ours is there" if asked.undo else "nothing to change")


def _agreed(asked: _Asked) -> bool:
    if asked.as_json or not sys.stdin.isatty():
        _refuse_without_answer()
    question = "Take this out?" if asked.undo else "Write this?"
    return click.confirm(question, err=True)


def _refuse_without_answer() -> NoReturn:
    raise Unfit(
        "there is nobody to agree to the change, and nothing was written",
        fix="Say --yes to write it, or --dry-run to see it.",
    )


def _told(plan: "Plan", where: "Where", notes: list[str], *, written: bool) -> dict[str, object]:
    return {
        "client": where.client.name,
        "scope": where.scope,
        "written": written,
        "files": [
            {
                "path": str(planned.change.path),
                "deed": planned.deed,
                "edited": planned.edited,
                "diff": _diff(planned, where),
            }
            for planned in plan.files
        ],
        "notes": notes,
    }


def _diff(planned: "Planned", where: "Where") -> str:
    """The change as people read it; passwords of URLs in it are left out."""
    from coordinator.agents.clients.shown import difference

    lines = difference(planned, where.client)
    return "".join(_PASSWORD.sub(r"\1:...", printable(line)) + "\n" for line in lines)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name != name.strip():
        raise Unfit(
            f"{name!r} is no name of 1 to 128 printable characters",
            fix="Choose another, without white space around it.",
        )


def _check_dsn(file: Path | None) -> None:
    """Refuse a file that holds no DSN; warn of one that others may read."""
    from coordinator.store.dsn import connect_target

    if file:
        connect_target(required_dsn(Common(None, file, as_json=False).settings()))
        if file.stat().st_mode & 0o077:
            warn(f"others than you may read {file}: chmod 600 {file}")


def _own_program() -> str:
    """The command that is running: its bare name if PATH leads to it, else its whole path."""
    running = Path(sys.argv[0])
    if running.name != "coordinator":
        running = Path(sysconfig.get_path("scripts"), "coordinator")
    found = shutil.which("coordinator")
    if found and running.exists() and Path(found).samefile(running):
        return "coordinator"
    whole = running.absolute()
    if not os.access(whole, os.X_OK) or whole.is_dir():
        raise ConfigError(
            f"there is no program at {whole} that a client could start",
            "the coordinator that you run was not installed as a package",
            "Install it with pip, or put it on the PATH.",
        )
    return str(whole)
