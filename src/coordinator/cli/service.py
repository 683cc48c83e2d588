"""The commands `install-service` and `reload`: the daemon as a service of systemd.

Everything that is written is named first, as a list of files with their contents, so that
`--dry-run` shows exactly what would be done. Files are replaced as a whole: whoever reads one sees
the old one or the new one, and a kill at any instant leaves nothing by halves.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar, TextIO

import click

from coordinator.cli.common import OTHER_VARIABLES, Common, common_options, json_option, wants_json
from coordinator.cli.output import note, say, say_json
from coordinator.core.errors import ConfigError, CoordinatorError, ExitCode

_PROGRAM = Path("/opt/coordinator/bin/coordinator")
_GROUP = "coordinator-health"
_MAIN = "coordinator"
_BOOTED = Path("/run/systemd/system")
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")
_GROUP_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./@+-]+")

_SETTINGS = """\
# Settings of {unit}; `coordinator config show` lists them all. Everybody may read this file:
# the DSN does not belong here. After a change: systemctl reload {unit}
#
# stale_after = "45s"
# log_level = "info"
"""

_EXAMPLES = """\b
Examples:
  coordinator install-service --dsn-file dsn --dry-run
  coordinator install-service --dsn-file dsn
  coordinator install-service --name orders --dsn-file -
"""


class DaemonUnreachable(CoordinatorError):
    """There is no such process, or not one that we may signal."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class _File:
    """What should stand in one place; `content` None leaves in place what is there."""

    path: Path
    content: str | None
    mode: int = 0o644
    secret: bool = False

    def shown(self) -> dict[str, object]:
        """Tell of it without its secret."""
        content = None if self.secret else self.content
        return {"path": str(self.path), "mode": f"{self.mode:04o}", "content": content}


@click.command("install-service", epilog=_EXAMPLES)
@click.option("--name", help="An instance of its own, coordinator@NAME, for a further database.")
@click.option(
    "--dsn-file",
    type=click.File(encoding="utf-8"),
    help="Where to read the DSN, - for stdin; without it the environment is asked.",
)
@click.option(
    "--group",
    default=_GROUP,
    show_default=True,
    help="Whose members may use the health socket; made if there is none.",
)
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    help="Run this coordinator; the one that you run now if not given.",
)
@click.option(
    "--prefix",
    type=click.Path(file_okay=False, path_type=Path),
    default="/",
    help="Write below this folder and call nothing, as for an image.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing; show what would be written.")
@json_option
def install_service(
    *,
    name: str | None,
    dsn_file: TextIO | None,
    group: str,
    program: Path | None,
    prefix: Path,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Install the daemon as a service of systemd: its unit, its credential, its settings.

    Needs root, but for --dry-run and --prefix. May be run again, as after an upgrade: a credential
    without a new DSN and the settings are kept, the unit is replaced. Starts nothing.
    """
    _check_names(name, group)
    at_home = prefix == Path("/")
    if at_home and not dry_run and os.geteuid() != 0:
        raise click.UsageError("only root may install a service; anybody may use --dry-run")
    program = program or _own_program()
    if not _PLAIN_PATH.fullmatch(str(program)):
        raise ConfigError(f"the path {str(program)!r} cannot be written into a unit")
    unit = f"coordinator@{name}" if name else _MAIN
    dsn = _dsn(dsn_file)
    files = list(_files(prefix, name or _MAIN, unit, program, group, dsn))
    if dry_run:
        _show(files, as_json=wants_json(here=as_json))
        return ExitCode.OK
    told = [{**file.shown(), "deed": _put(file)} for file in files]
    next_ = [f"systemctl enable --now {unit}"]
    if at_home and _BOOTED.is_dir():
        _call("systemd-sysusers", str(_sysusers(prefix, group)))
        _call("systemctl", "daemon-reload")
    if wants_json(here=as_json):
        say_json({"unit": unit, "files": told, "next": next_})
        return ExitCode.OK
    for each in told:
        note(f"{each['deed']}: {each['path']} ({each['mode']})")
    note(f"next: {next_[0]}")
    return ExitCode.OK


@click.command("reload")
@click.option(
    "--pid",
    type=click.IntRange(min=2),
    envvar="MAINPID",
    required=True,
    help="The daemon's process; systemd tells it to ExecReload.",
)
@common_options
def reload(common: Common, *, pid: int) -> int:
    """Let a running daemon read its configuration again, if the configuration is right.

    For ExecReload of the unit: a wrong configuration makes `systemctl reload` fail with its reason,
    and the daemon keeps what it has.
    """
    _check_settings(common)
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise DaemonUnreachable(
            f"process {pid} cannot be told to reload", error.strerror, "Check --pid."
        ) from None
    if common.as_json:
        say_json({"pid": pid})
    return ExitCode.OK


def _check_settings(common: Common) -> None:
    from coordinator.config import Settings

    # ExecReload is told of the credentials, and may not read them.
    known = {name: value for name, value in os.environ.items() if name != "CREDENTIALS_DIRECTORY"}
    Settings.load(known, file=common.config, others=OTHER_VARIABLES)


def _check_names(name: str | None, group: str) -> None:
    if name is not None and (name == _MAIN or not _NAME.fullmatch(name)):
        raise click.UsageError(
            f"{name!r} is no name for an instance: letters, digits, and _ . - inside, at most 50,"
            f" and not {_MAIN}"
        )
    if not _GROUP_NAME.fullmatch(group) or group == _MAIN:
        # A fixed group of the name that systemd gives to the daemon's user would stop the start.
        raise click.UsageError(
            f"{group!r} is no name for the group: small letters, digits, _ and -, not {_MAIN}"
        )


def _own_program() -> Path:
    program = Path(sysconfig.get_path("scripts"), "coordinator")
    if not program.exists():
        raise ConfigError(
            f"there is no program at {program}",
            "the coordinator that you run was not installed as a package",
            "Install it into /opt/coordinator, or name it with --program.",
        )
    for path in (program, Path(sys.executable)):
        _check_visible(path.resolve())
    return program


def _check_visible(path: Path) -> None:
    """Refuse what the sandbox hides, or what only its owner may run: the start would fail."""
    if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
        why = "its sandbox hides that folder"
    elif closed := [part for part in (path, *path.parents) if not part.stat().st_mode & 0o001]:
        why = f"others may not enter {closed[0]}"
    else:
        return
    raise ConfigError(
        f"the service could not run {path}",
        why,
        "Install the coordinator into a virtual environment at /opt/coordinator, with a Python"
        " such as /usr/bin/python3, and run install-service from there.",
    )


def _dsn(file: TextIO | None) -> str | None:
    """Return the DSN that was given, if any; raise ConfigError if it is none."""
    from coordinator.config import Settings
    from coordinator.store.dsn import connect_target

    if file is None:
        given = Settings.load(os.environ, others=OTHER_VARIABLES).dsn
        dsn = given.get_secret_value() if given else None
    else:
        try:
            dsn = file.read().strip()
        except UnicodeDecodeError:
            raise ConfigError(f"the DSN cannot be read from {file.name}", "it is no text") from None
        if not dsn:
            raise ConfigError(f"{file.name} should hold the DSN, and is empty")
    if dsn is not None:
        connect_target(dsn)
    return dsn


def _files(
    prefix: Path, name: str, unit: str, program: Path, group: str, dsn: str | None
) -> Iterator[_File]:
    etc = prefix / "etc"
    own = etc / "coordinator" / f"{name}.toml"
    credential = etc / "coordinator" / f"{name}.dsn"
    if dsn is None and not credential.exists():
        raise ConfigError(
            "no database is named",
            f"there is no --dsn-file, nothing in the environment, and no {credential} to keep",
            "Write postgresql://user:password@host:5432/database into a file for --dsn-file.",
        )
    template = "coordinator.service" if unit == _MAIN else "coordinator@.service"
    text = _shipped(template).replace(str(_PROGRAM), str(program))
    yield _File(
        etc / "systemd" / "system" / template, text.replace(f"Group={_GROUP}\n", f"Group={group}\n")
    )
    yield _File(_sysusers(prefix, group), f"g {group} -\n")
    yield _File(own, None if own.exists() else _SETTINGS.format(unit=unit))
    yield _File(credential, dsn and f"{dsn}\n", mode=0o600, secret=True)


def _sysusers(prefix: Path, group: str) -> Path:
    return prefix / "etc" / "sysusers.d" / f"{group}.conf"


def _shipped(name: str) -> str:
    packaged = resources.files("coordinator").joinpath("deploy", name)
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[3] / "deploy" / name).read_text(encoding="utf-8")


def _show(files: Sequence[_File], *, as_json: bool) -> None:
    if as_json:
        say_json({"files": [file.shown() for file in files]})
        return
    for file in files:
        hidden = "# the DSN, which is never shown\n" if file.secret else file.content
        say(f"### {file.path} ({file.mode:04o})\n{hidden or '# kept as it is'}")


def _put(file: _File) -> str:
    """Make the file what it should be, and say what was done."""
    try:
        old = file.path.read_text(encoding="utf-8") if file.path.exists() else None
        content = old if file.content is None else file.content
        same = old == content and (file.path.lstat().st_mode & 0o7777) == file.mode
        if content is None or (same and not file.path.is_symlink()):
            return "kept" if file.content is None else "unchanged"
        _replace(file.path, content.encode(), file.mode)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{file.path} cannot be written", why) from None
    return "written" if old is None else "replaced"


def _replace(path: Path, content: bytes, mode: int) -> None:
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)  # whatever the umask: the daemon reads its settings there
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _call(program: str, *arguments: str) -> None:
    found = shutil.which(program)
    if found is None:
        raise ConfigError(f"there is no {program} on this machine", None, "Install systemd.")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{program} failed", done.stderr.strip() or None)
