"""One node of a cluster: Patroni and the server that it keeps, on a machine in small of its own.

Its address is a loopback address where nobody else is. See `machine` for how all of it ends.
"""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import asyncpg

from coordinator.embedded.identity import Identity
from coordinator.embedded.process import ChildProcess, spawn
from tests.support.postgres import Connection, chosen_binaries
from tests.support.processes import descendants

PATRONI = "/usr/bin/patroni"
CONFIGURATION = Path(__file__).parents[2] / "deploy" / "patroni.yaml"
PASSWORD = "no-secret"
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises where a server is away, or none of them is the primary."""

_MACHINE = Path(__file__).with_name("machine.py")
_PYTHON = Path("/usr/bin/python3")
_DEBIAN_SOCKETS = "/var/run/postgresql"
_ANSWER_S = 30.0
_CONNECT_S = 3.0
_HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class Place:
    """An address, and ports there."""

    host: str
    ports: tuple[int, ...]

    @classmethod
    def find(cls, ports: int) -> "Place":
        """Choose one of the sixteen million loopback addresses: no client's own port is there."""
        host = ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])
        return cls(host, tuple(_free_ports(host, ports)))

    def __getitem__(self, number: int) -> str:
        return f"{self.host}:{self.ports[number]}"


@dataclass(slots=True)
class Node:
    """One of the two."""

    name: str
    directory: Path
    identity: Identity
    etcd: str
    place: Place = field(default_factory=lambda: Place.find(2))
    """Its first port is PostgreSQL's, its second Patroni's."""
    _machine: ChildProcess | None = field(default=None, init=False, repr=False)
    _lives: int = field(default=0, init=False)

    @classmethod
    def make(cls, name: str, parent: Path, identity: Identity, *, etcd: str) -> "Node":
        """Lay out its directory: the configuration as it is shipped, and room for the rest."""
        node = cls(name, owned(parent / name, identity), identity, etcd)
        shutil.copy(_MACHINE, node.directory)
        sockets = owned(node.directory / "run", identity)
        text = CONFIGURATION.read_text()
        assert _DEBIAN_SOCKETS in text
        node._configuration.write_text(text.replace(_DEBIAN_SOCKETS, str(sockets)))
        return node

    def dsn(self, database: str = "postgres") -> str:
        """The superuser's way to this node alone, whatever it is."""
        return f"postgresql://postgres:{PASSWORD}@{self.place[0]}/{database}"

    @asynccontextmanager
    async def connect(self, database: str = "postgres") -> AsyncIterator[Connection]:
        """A connection to this node, whether it is the primary or not."""
        connection = await asyncpg.connect(self.dsn(database), timeout=_CONNECT_S)
        try:
            yield connection
        finally:
            connection.terminate()

    async def takes_writes(self) -> bool:
        """Whether the server is there, and no standby."""
        try:
            async with self.connect() as connection:
                return not await connection.fetchval("select pg_is_in_recovery()")
        except LOST:
            return False

    async def launch(self) -> None:
        """Start Patroni anew, which starts the server."""
        await self.stop()
        self._lives += 1
        settings = [f"PATRONI_{name}={value}" for name, value in self._settings.items()]
        self._machine = spawn(
            _PYTHON,
            [
                *("-I", "-S", str(self.directory / _MACHINE.name)),
                *("/usr/bin/env", *settings),
                *(PATRONI, str(self._configuration)),
            ],
            identity=self.identity,
            directory=self.directory,
            log=self._log(self._lives),
        )

    def kill(self) -> None:
        """End everything on it at once, and take its memory away, as a loss of power does."""
        pids = self.pids
        memory = {segment for pid in pids for segment in _shared_memory(pid)}
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for segment in memory:
            segment.take_away()

    async def stop(self) -> None:
        """End it in good order, if it runs."""
        machine, self._machine = self._machine, None
        if machine is not None:
            await machine.stop()

    @property
    def pids(self) -> list[int]:
        """Every process on it."""
        if self._machine is None or self._machine.has_ended:
            return []
        return descendants(self._machine.process.pid)

    @property
    def patroni(self) -> int | None:
        """Patroni's process, while it runs."""
        return next((pid for pid in self.pids if PATRONI in _command_line(pid)), None)

    @property
    def postmaster(self) -> int | None:
        """The server's first process, while it runs."""
        lines = _lines(self.directory / "data" / "postmaster.pid")
        pid = int(lines[0]) if lines else 0
        return pid if pid in self.pids else None

    @property
    def log(self) -> str:
        """What Patroni and the server have said, in all the node's lives."""
        lives = range(1, self._lives + 1)
        return "".join(self._log(life).read_text(errors="replace") for life in lives)

    async def ask(self, method: str, path: str, document: object = None) -> str:
        """Ask Patroni; raise OSError where it is away, AssertionError where it says no."""
        code, answer = await anyio.to_thread.run_sync(self._ask, method, path, document)
        assert code == _HTTP_OK, f"{method} {path}: {code} {answer}"
        return answer

    async def says(self, path: str) -> bool:
        """Whether Patroni is there and affirms this, such as `/primary`."""
        with suppress(OSError, AssertionError):
            await self.ask("GET", path)
            return True
        return False

    @property
    def _configuration(self) -> Path:
        return self.directory / CONFIGURATION.name

    @property
    def _settings(self) -> Mapping[str, str]:
        """What differs from node to node, and what is secret."""
        return {
            "NAME": self.name,
            "ETCD3_HOSTS": self.etcd,
            "RESTAPI_LISTEN": self.place[1],
            "RESTAPI_CONNECT_ADDRESS": self.place[1],
            "POSTGRESQL_LISTEN": self.place[0],
            "POSTGRESQL_CONNECT_ADDRESS": self.place[0],
            "POSTGRESQL_DATA_DIR": str(self.directory / "data"),
            "POSTGRESQL_BIN_DIR": str(chosen_binaries().bin_dir),
            "POSTGRESQL_PGPASS": str(self.directory / "pgpass"),
            "SUPERUSER_PASSWORD": PASSWORD,
            "REPLICATION_PASSWORD": PASSWORD,
            "REWIND_PASSWORD": PASSWORD,
        }

    def _log(self, life: int) -> Path:
        return self.directory / f"{life}.log"

    def _ask(self, method: str, path: str, document: object) -> tuple[int, str]:
        host, port = self.place.host, self.place.ports[1]
        connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
        try:
            connection.request(method, path, None if document is None else json.dumps(document))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self.name} broke off") from error
        finally:
            connection.close()


def owned(directory: Path, identity: Identity) -> Path:
    """Make a private directory for whoever runs the servers."""
    directory.mkdir(mode=0o700)
    identity.own(directory)
    return directory


@dataclass(frozen=True, slots=True)
class _SharedMemory:
    """What a server that is killed leaves behind until its next start."""

    name: str
    number: str

    def take_away(self) -> None:
        if self.name.startswith("/SYSV"):
            subprocess.run(["ipcrm", "--shmem-id", self.number], capture_output=True)
        else:
            Path(self.name).unlink(missing_ok=True)


def _shared_memory(pid: int) -> Iterator[_SharedMemory]:
    for line in _lines(Path(f"/proc/{pid}/maps")):
        _, _, _, _, number, *name = line.split()
        if name and name[0].startswith(("/SYSV", "/dev/shm/PostgreSQL.")):
            yield _SharedMemory(name[0], number)


def _free_ports(host: str, count: int) -> Iterator[int]:
    with ExitStack() as held:
        for _ in range(count):
            sock = held.enter_context(socket.socket())
            sock.bind((host, 0))
            yield int(sock.getsockname()[1])


def _command_line(pid: int) -> list[str]:
    return "".join(_lines(Path(f"/proc/{pid}/cmdline"))).split("\0")


def _lines(path: Path) -> list[str]:
    """The file's lines; none where there is no such file, or its process has ended."""
    try:
        return path.read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []
