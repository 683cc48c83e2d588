"""The commands `agents create-login`, `list-logins` and `drop-login`."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from coordinator.cli.common import Common, common_options, on_database
from coordinator.cli.inputs import LOGIN
from coordinator.cli.output import count, note, say, say_json, warn
from coordinator.core.errors import ConfigError, ExitCode

_PASSWORD = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_LONGEST_PASSWORD = 1000

_EXAMPLES = """\b
Examples:
  coordinator agents create-login trae --role reviewer
  coordinator agents create-login codex --plain --save-to /etc/codex/password
"""


@click.command("create-login", epilog=_EXAMPLES)
@click.argument("name")
@click.option("--login", type=LOGIN, help="The login's name; agent_NAME if not given.")
@click.option("--role", "roles", multiple=True, help="A role it may answer to; may be repeated.")
@click.option("--plain", is_flag=True, help="For an agent that speaks plain SQL, not functions.")
@click.option("--password-file", type=_PASSWORD, help="Take the password from there; - is stdin.")
@click.option("--save-to", type=_NEW_FILE, help="Write it there, for you alone, not to stdout.")
@common_options
def create_login(
    common: Common,
    name: str,
    *,
    login: str | None,
    roles: Sequence[str],
    plain: bool,
    password_file: Path | None,
    save_to: Path | None,
) -> int:
    """Make a database login that is one agent and no other, and print its password once.

    Needs the schema's owner, with CREATEROLE. A password is made up unless one is given. The server
    never hears it, only what it takes to check it.
    """
    from coordinator.store import agent_logins, scram

    if password_file and save_to:
        raise click.UsageError("--save-to is for a password that is made up here")
    login = login or LOGIN.convert(f"agent_{name}", None, click.get_current_context())
    new = agent_logins.NewLogin(login, name, tuple(roles), "sql" if plain else "functions")
    password = _given(password_file) if password_file else scram.new_password()
    known = scram.verifier(password)
    with _kept(password, save_to):
        on_database(common, lambda on: agent_logins.create_login(on, new, known))
    shown = None if password_file or save_to else password
    if common.as_json:
        say_json({**asdict(new), "password": shown})
        return ExitCode.OK
    if shown:
        say(shown)
    note(f"login {login} is agent {name} and no other")
    return ExitCode.OK


@click.command("list-logins")
@common_options
def list_logins(common: Common) -> int:
    """List the logins that are one agent each, by their agents."""
    from coordinator.operate.agents import render_logins
    from coordinator.store import agent_logins

    rows = on_database(common, agent_logins.list_logins)
    if common.as_json:
        say_json({"logins": rows})
        return ExitCode.OK
    if rows:
        say(render_logins(rows))
    note(count(len(rows), "login"))
    return ExitCode.OK


@click.command("drop-login")
@click.argument("login")
@common_options
def drop_login(common: Common, login: str) -> int:
    """Drop an agent's login and end its connections; the agent's row and its work stay."""
    from coordinator.store import agent_logins

    ended = on_database(common, lambda on: agent_logins.drop_login(on, login))
    if common.as_json:
        say_json({"login": login, "connections_ended": ended})
    elif ended is None:
        warn("its open connections could not be ended; they can do nothing any more")
    else:
        note(f"login {login} is gone; {count(ended, 'connection')} ended")
    return ExitCode.OK


def _given(file: Path) -> str:
    from coordinator.store.scram import SHORTEST_PASSWORD, is_fit

    try:
        if str(file) == "-":
            text = sys.stdin.read(_LONGEST_PASSWORD + 2)
        else:
            with file.open(encoding="utf-8") as opened:
                text = opened.read(_LONGEST_PASSWORD + 2)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"no password can be read from {file}", why) from None
    password = text.removesuffix("\n").removesuffix("\r")
    if len(password) > _LONGEST_PASSWORD or not is_fit(password):
        raise ConfigError(
            f"the password in {file} is not fit",
            f"it needs {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} printable ASCII characters,"
            " in one line",
            "Leave --password-file out, and one is made up.",
        )
    return password


@contextmanager
def _kept(password: str, file: Path | None) -> Iterator[None]:
    """Write the password before there is a login, and take it away again if there will be none."""
    if file is None:
        yield
        return
    try:
        # Never into a file that somebody else has opened already.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(
            f"the password cannot be written to {file}", error.strerror, "Name a new file."
        ) from None
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{password}\n")
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise
