"""One private PostgreSQL server, from its first `initdb` to its fast shutdown.

A directory holds everything: `data` (the cluster), `run` (the socket), `server.log` and `lock`.
The lock is the truth about who is alive: the server inherits it, so it is free only when the
server and all its backends have ended, however they ended. A `postmaster.pid` found under the
lock is therefore stale, even if its number is in use again.
"""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Self
from urllib.parse import quote

from coordinator.core.errors import ConfigError
from coordinator.embedded.binaries import ServerBinaries
from coordinator.embedded.identity import Identity, identity_for
from coordinator.embedded.process import SHIM_FAILED, ChildProcess, spawn, within

SUPERUSER = "postgres"
PORT = 5432
"""Only a part of the socket's name; no port is opened."""

_START_WITHIN = timedelta(seconds=60)
"""Room for crash recovery on a slow disk."""
_LOCK_WITHIN = timedelta(seconds=5)
"""A server whose starter was killed is shutting down; it takes well under a second."""
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Bytes of a unix socket's path."""
_LOG_TAIL = 15
"""Lines of the log that an error shows."""

_PRIVATE = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_DEFAULTS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class PrivateServer:
    """A server that belongs to this process alone and ends with it.

    Launch it from the main thread: Linux ties the server's life to the thread that forked it.
    """

    directory: Path
    """May be deep, and may hold spaces."""
    binaries: ServerBinaries
    settings: Mapping[str, str] = field(default_factory=dict)
    durable: bool = True
    """False gives up crash safety for speed, for data that nobody will miss."""
    _child: ChildProcess | None = field(default=None, init=False, repr=False)
    _lock: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        # The server and its clients may have other working directories.
        self.directory = self.directory.absolute()

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        data_dir: Path,
        binaries: ServerBinaries,
        *,
        settings: Mapping[str, str] = _DEFAULTS,
        durable: bool = True,
    ) -> AsyncIterator[Self]:
        """Run a server on `data_dir`, made and initialised if need be, until the block ends.

        Raise ConfigError as `launch` does.
        """
        server = cls(data_dir, binaries, settings, durable)
        await server.launch()
        try:
            yield server
        finally:
            await server.stop()

    async def launch(self) -> None:
        """Start, and return once connections are accepted. It must not be running.

        Raise ConfigError if another server is alive on this directory, if the data is of another
        major version, if no identity can run it, or if it does not start (with its log's end).
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            identity = identity_for(self._data)
            identity.own(self.directory)
            self._lock = await self._take_lock()
            await self._initialise(identity)
            self._child = self._spawn_postgres(identity)
            await self._until_ready(self._child)
        except OSError as error:
            await self.stop()
            raise ConfigError(
                f"no PostgreSQL server can be kept in {self.directory}",
                str(error),
                "Use a directory that you may write to.",
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Shut down; what was committed is kept. Nothing happens if it is not running."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
        if child is not None and self._sockets != self._run:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER) -> str:
        """How to connect, for asyncpg and for libpq; the same again after a new launch."""
        host = quote(str(self._sockets), safe="/")
        return f"postgresql://{user}@/{quote(database, safe='')}?host={host}&port={PORT}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process; None when it is not running."""
        if self._child is None or self._child.has_ended:
            return None
        return self._child.process.pid

    @property
    def log(self) -> Path:
        """What the server has said since its last launch."""
        return self.directory / "server.log"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _run(self) -> Path:
        return self.directory / "run"

    @property
    def _sockets(self) -> Path:
        """Where the socket is: `run`, unless that path is too long or holds a comma.

        A comma parts hosts in a DSN. The other place is as private, and the same every time.
        """
        length = len(os.fsencode(self._run / f".s.PGSQL.{PORT}"))
        if length <= _LONGEST_SOCKET and "," not in str(self._run):
            return self._run
        name = hashlib.sha256(os.fsencode(self.directory.resolve())).hexdigest()[:16]
        return Path("/tmp", f"coordinator-{os.geteuid()}-{name}")  # noqa: S108 - _make_sockets looks

    async def _take_lock(self) -> int:
        lock = os.open(self.directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if await within(_LOCK_WITHIN, lambda: _try_lock(lock)):
            return lock
        os.close(lock)
        raise ConfigError(
            f"a PostgreSQL server is already running on {self.directory}",
            f"Its process is {_first_line(self._data / 'postmaster.pid') or 'not known'}.",
            "Stop the `coordinator` that started it, or use another directory.",
        )

    async def _initialise(self, identity: Identity) -> None:
        if (self._data / "PG_VERSION").exists():
            self._check_version()
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            return
        # Renamed at the end, so that a killed initdb leaves nothing that looks like a cluster.
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        child = self._spawn("initdb", list(self._initdb_arguments(unfinished)), identity)
        try:
            await within(_START_WITHIN, lambda: child.has_ended)
        finally:
            await child.stop()
        if child.process.returncode != 0:
            raise self._failure("initdb failed", child)
        unfinished.rename(self._data)

    def _check_version(self) -> None:
        version = _first_line(self._data / "PG_VERSION")
        if version != str(self.binaries.major):
            raise ConfigError(
                f"the data in {self.directory} is of PostgreSQL {version}",
                f"The server in {self.binaries.bin_dir} is {self.binaries.version}, and no major"
                " version reads another's files.",
                f"Name a PostgreSQL {version} with --pg-bin, or remove the directory.",
            )

    def _initdb_arguments(self, directory: Path) -> Iterator[str]:
        # Every glibc has C.UTF-8; macOS does not.
        locale = "C.UTF-8" if sys.platform == "linux" else "C"
        yield from ("-D", str(directory), "--username", SUPERUSER, "--auth", "trust")
        yield from ("--encoding", "UTF8", "--locale", locale, "--no-instructions")
        if not self.durable:
            yield "--no-sync"

    def _spawn_postgres(self, identity: Identity) -> ChildProcess:
        sockets = self._make_sockets(identity)
        quoted = str(sockets).replace('"', '""')
        chosen = {
            **_PRIVATE,
            "unix_socket_directories": f'"{quoted}"',
            **({} if self.durable else _THROW_AWAY),
            **self.settings,
        }
        arguments = ["-D", str(self._data)]
        for name, value in chosen.items():
            arguments += ["-c", f"{name}={value}"]
        return self._spawn("postgres", arguments, identity)

    def _spawn(self, program: str, arguments: list[str], identity: Identity) -> ChildProcess:
        return spawn(
            self.binaries.bin_dir / program,
            arguments,
            identity=identity,
            directory=self.directory,
            log=self.log,
            keep=[] if self._lock is None else [self._lock],
        )

    def _make_sockets(self, identity: Identity) -> Path:
        sockets = self._sockets
        sockets.mkdir(mode=0o700, exist_ok=True)
        found = sockets.lstat()
        # In /tmp, somebody else could have made it first.
        if found.st_uid not in {os.geteuid(), identity.uid} or found.st_mode & 0o077:
            raise ConfigError(
                f"{sockets} belongs to somebody else, or others may enter it",
                "The server trusts whoever reaches its socket.",
                "Remove it, or use a directory with a shorter path.",
            )
        identity.own(sockets)
        return sockets

    async def _until_ready(self, child: ChildProcess) -> None:
        await within(_START_WITHIN, lambda: child.has_ended or self._is_ready())
        if child.has_ended:
            raise self._failure("PostgreSQL did not start", child)
        if not self._is_ready():
            raise self._failure(f"PostgreSQL was not ready within {_START_WITHIN}", child)

    def _is_ready(self) -> bool:
        """Whether the eighth line of `postmaster.pid` says that connections are accepted."""
        lines = _lines(self._data / "postmaster.pid")
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _failure(self, what: str, child: ChildProcess) -> ConfigError:
        tail = "\n".join(_lines(self.log)[-_LOG_TAIL:])
        fix = None
        if child.process.returncode == SHIM_FAILED:
            fix = (
                "Use a directory, and a server, that this user can reach; or do not start it as"
                " root."
            )
        return ConfigError(what, f"The end of {self.log} says:\n{tail or '(nothing)'}", fix)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "")


def _lines(path: Path) -> list[str]:
    """The file's lines; none if there is no such file."""
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
