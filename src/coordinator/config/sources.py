"""Where a setting's value comes from, and which source wins.

Flags win over the environment, the environment over the file, the file over the defaults. The DSN
has more sources than the others; inside the environment the more particular one wins:
`COORDINATOR_DSN` or `COORDINATOR_DSN_FILE`, then the systemd credential `dsn`, then `DATABASE_URL`.

The environment is a mapping that the caller hands in; nothing here reads the process's own.
"""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.core.errors import ConfigError

PREFIX = "COORDINATOR_"
CONFIG_VARIABLE = "COORDINATOR_CONFIG"

# Kubernetes sets these in every pod for a service whose name begins with "coordinator".
_SERVICE_LINK = re.compile(
    r"COORDINATOR(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT(_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?)"
)


@dataclass(frozen=True, slots=True)
class Given:
    """A raw value and the place where somebody wrote it."""

    value: object = field(repr=False)
    origin: str


def gather(
    names: Collection[str],
    environ: Mapping[str, str],
    *,
    file: Path | None,
    flags: Mapping[str, object],
    others: Collection[str],
) -> dict[str, Given]:
    """Return what was given for each setting in `names`; settings left at default are absent.

    A flag that is None and a variable that is empty count as not given. `others` are variables
    with our prefix that are no settings. Raise ConfigError for unknown keys and unreadable files.
    """
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    given: dict[str, Given] = {}
    if file is not None:
        given |= _from_file(names, file)
    given |= _from_environment(names, environ, others)
    for name, value in flags.items():
        if value is not None:
            _check_known([_flag(name)], map(_flag, names), "flag")
            given[name] = Given(value, f"flag {_flag(name)}")
    return given


def _from_file(names: Collection[str], file: Path) -> dict[str, Given]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the configuration file {file} cannot be read", error.strerror, "Check its path."
        ) from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"the configuration file {file} is not TOML", str(error)) from None
    _check_known(content, (*names, "dsn_file"), f"key in {file}")
    given = {key: Given(value, f"file {file}: {key}") for key, value in content.items()}
    return _with_dsn_file(given, base=file.parent)


def _from_environment(
    names: Collection[str], environ: Mapping[str, str], others: Collection[str]
) -> dict[str, Given]:
    variables = {PREFIX + name.upper(): name for name in (*names, "dsn_file")}
    ours = [
        key
        for key in environ
        if key.startswith(PREFIX)
        and key != CONFIG_VARIABLE
        and key not in others
        and not _SERVICE_LINK.fullmatch(key)
    ]
    _check_known(ours, variables, "variable")
    given = {
        variables[key]: Given(environ[key], f"env {key}") for key in ours if environ[key] != ""
    }
    return dict(_general_dsn(environ)) | _with_dsn_file(given, base=Path())


def _general_dsn(environ: Mapping[str, str]) -> Iterator[tuple[str, Given]]:
    if environ.get("DATABASE_URL"):
        yield "dsn", Given(environ["DATABASE_URL"], "env DATABASE_URL")
    if environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(environ["CREDENTIALS_DIRECTORY"]) / "dsn"
        if _is_there(credential):
            yield "dsn", Given(_secret(credential), f"credential {credential}")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that may not be entered; reading it says so
        return True


def _with_dsn_file(given: dict[str, Given], *, base: Path) -> dict[str, Given]:
    named = given.pop("dsn_file", None)
    if named is None:
        return given
    if "dsn" in given:
        raise ConfigError(
            f"the DSN is given twice, as {given['dsn'].origin} and as {named.origin}",
            fix="Keep one of them.",
        )
    path = base / str(named.value)
    return given | {"dsn": Given(_secret(path), f"file {path}, named by {named.origin}")}


def _secret(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"the DSN cannot be read from {path}", why) from None
    if not text:
        raise ConfigError(f"the file {path} should hold the DSN, and is empty")
    return text


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_known(keys: Collection[str], known: Collection[str] | Iterator[str], kind: str) -> None:
    known = sorted(known)
    unknown = sorted(set(keys).difference(known))
    if not unknown:
        return
    close = {key: difflib.get_close_matches(key, known, n=1) for key in unknown}
    hints = [f"{key}: did you mean {match[0]}?" for key, match in close.items() if match]
    raise ConfigError(
        f"unknown {kind}: {', '.join(unknown)}",
        " ".join(hints) or None,
        "`coordinator config show` lists all settings.",
    )
