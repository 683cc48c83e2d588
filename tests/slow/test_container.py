"""The image, built by buildah and run by podman and runc: read-only, without any capability."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from coordinator import __version__
from coordinator.embedded import PrivateServer
from tests.slow.images import IMAGE, REVISION, Engine, base_name, engine, needs_containers
from tests.support.postgres import Connection, throw_away_server
from tests.support.processes import RunningProcess, running
from tests.support.waiting import eventually

MIB_120 = 120_000_000
"""What "under 120 MB" means here, in bytes on disk."""
DRAINED_WITHIN = timedelta(seconds=10)
STARTED_WITHIN = timedelta(seconds=30)

LOCKED_DOWN = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all"),
    *("--security-opt=no-new-privileges", "--pull=never", "--log-driver=none"),
)

# The first session on a machine makes the base, which takes a minute.
pytestmark = [pytest.mark.slow, pytest.mark.release, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def builder() -> Iterator[Engine]:
    """A storage with the base in it."""
    needs_containers()
    with engine() as made:
        made.load_base()
        yield made


@pytest.fixture(scope="module")
def built(builder: Engine) -> Engine:
    """The same with the image."""
    done = builder.build(f"VERSION={__version__}", f"REVISION={REVISION}")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return builder


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the image whose log lines can be waited for."""

    engine: Engine
    name: str
    process: RunningProcess

    @property
    def pid(self) -> int:
        """Its first process, as the host numbers it."""
        return int(self.state("Pid"))

    def state(self, field: str) -> str:
        """One field of its state, as podman tells it."""
        told = self.engine.podman("inspect", "--format", f"{{{{.State.{field}}}}}", self.name)
        return told.stdout.strip()

    def execute(self, *command: str) -> tuple[int, str]:
        """Run a program in it; return its exit code and all that it said."""
        done = self.engine.podman("exec", self.name, *command, check=False)
        return done.returncode, done.stdout + done.stderr

    def is_healthy(self) -> bool:
        """Run the health check of the image once."""
        return self.engine.podman("healthcheck", "run", self.name, check=False).returncode == 0

    def send(self, sign: signal.Signals) -> None:
        """Send its first process a signal."""
        self.engine.podman("kill", "--signal", sign.name, self.name)

    def stop(self) -> int:
        """End it as a container engine does; return its exit code."""
        self.engine.podman("stop", "--time", "30", self.name)
        return int(self.state("ExitCode"))


@asynccontextmanager
async def container(
    engine: Engine, *command: str, network: str = "host", options: tuple[str, ...] = ()
) -> AsyncIterator[Container]:
    """Run the image locked down; it is removed at the end."""
    name = f"coordinator-test-{uuid4().hex[:8]}"
    started = ["podman", "run", "--name", name, f"--network={network}", *LOCKED_DOWN, *options]
    try:
        async with running([*started, IMAGE, *command], env=engine.environment) as process:
            yield Container(engine, name, process)
    finally:
        engine.podman("rm", "--force", "--time=0", name, check=False)


@dataclass(frozen=True, slots=True)
class Outside:
    """A PostgreSQL that is no container, on the loopback interface, and how to reach it."""

    server: PrivateServer
    port: int
    directory: Path

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def options(self) -> tuple[str, ...]:
        """The DSN as a file that only the image's user may read, and a health port of its own."""
        secret = self.directory / "dsn"
        if not secret.exists():
            secret.write_text(f"{self.dsn}\n")
            secret.chmod(0o400)
            os.chown(secret, 10001, 10001)
        return (
            f"--volume={secret}:/run/secrets/dsn:ro",
            "--env=COORDINATOR_DSN_FILE=/run/secrets/dsn",
            f"--env=COORDINATOR_HEALTH_TCP=127.0.0.1:{_free_port()}",
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            connection.terminate()


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Outside]:
    """A server without our schema."""
    port = _free_port()
    on_loopback = {"listen_addresses": "127.0.0.1", "port": str(port)}
    async with throw_away_server(settings=on_loopback) as server:
        yield Outside(server, port, tmp_path)


@pytest.fixture
async def migrated(built: Engine, outside: Outside) -> Outside:
    """The same after `migrate` in a container."""
    async with container(built, "migrate", options=outside.options) as one:
        assert await one.process.wait(within=STARTED_WITHIN) == 0, one.process
    return outside


# --- what it is -------------------------------------------------------------------------------


def test_the_image_says_what_it_is_and_how_to_treat_it(built: Engine) -> None:
    told = built.inspect(IMAGE)

    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in told["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels == {
        "title": "coordinator",
        "description": "Hands work between AI agents, with all state in PostgreSQL",
        "licenses": "Apache-2.0",
        "version": __version__,
        "revision": REVISION,
        "base.name": base_name(),
    }
    config = told["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["coordinator"]
    assert config["Cmd"] == ["run"]
    assert told["Healthcheck"]["Test"] == ["CMD", "coordinator", "health"]


def test_a_label_that_is_not_true_ends_the_build(builder: Engine) -> None:
    done = builder.build("VERSION=99.0.0", image="localhost/coordinator:wrong")

    assert done.returncode != 0
    assert f"VERSION=99.0.0 was asked for, and this is {__version__}" in done.stderr


def test_the_image_is_smaller_than_120_mb(built: Engine) -> None:
    assert 50_000_000 < built.inspect(IMAGE)["Size"] < MIB_120


def test_nobody_can_install_compile_or_gain_rights_in_it(built: Engine) -> None:
    with built.files() as root:
        files = [path for path in root.rglob("*") if not path.is_dir()]
        programs = {path.name for path in files if path.parent.name in {"bin", "sbin"}}
        modules = {path.name for path in root.glob("**/site-packages/*")}
        special = [path for path in files if path.lstat().st_mode & 0o6000]
        writable = [path for path in files if not path.is_symlink() and path.stat().st_mode & 0o022]
        owners = {path.lstat().st_uid for path in files}

    assert programs == {"coordinator", "idna", "python", "python3", "python3.13"}
    assert not {"pip", "setuptools", "wheel", "pytest", "mypy"} & modules
    assert not special
    assert not writable
    assert owners == {0}


def test_each_library_stands_in_the_package_list_with_its_licence(built: Engine) -> None:
    with built.files() as root:
        listed = {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()}
        licences = {path.parent.name for path in root.glob("usr/share/doc/*/copyright")}
        libraries = {path.name for path in root.glob("usr/lib/*-linux-gnu/*.so*")}

    assert {"libc6", "libssl3", "libgcc-s1", "ca-certificates"} <= listed
    assert listed == licences
    assert {"libc.so.6", "libssl.so.3", "libgcc_s.so.1"} <= libraries


async def test_every_module_of_its_python_finds_its_libraries(built: Engine) -> None:
    load_all = (
        "import importlib, pathlib, sys, sysconfig\n"
        "place = pathlib.Path(sysconfig.get_path('stdlib'), 'lib-dynload')\n"
        "names = {path.name.partition('.')[0] for path in place.glob('*.so')}\n"
        "for name in sorted(names):\n"
        "    importlib.import_module(name)\n"
        "import ssl, asyncpg.protocol.protocol, pydantic_core, uvloop\n"
        "trusted = ssl.create_default_context()\n"
        "trusted.load_verify_locations('/etc/ssl/certs/ca-certificates.crt')\n"
        "print(len(names) > 30, len(trusted.get_ca_certs()) > 50)\n"
    )
    as_python = ("--entrypoint=python",)
    async with container(built, "-c", load_all, network="none", options=as_python) as one:
        assert await one.process.wait() == 0, one.process
        assert one.process.stdout.split() == ["True", "True"]


async def test_the_version_is_told_without_a_network(built: Engine) -> None:
    async with container(built, "--version", network="none") as one:
        assert await one.process.wait() == 0, one.process
        assert one.process.stdout.startswith(f"coordinator {__version__}\n")


# --- how it runs ------------------------------------------------------------------------------


async def test_work_is_dispatched_on_a_server_outside(built: Engine, migrated: Outside) -> None:
    async with (
        container(built, options=migrated.options) as one,
        migrated.connect() as connection,
    ):
        await one.process.seen("daemon.ready", role="leader", within=STARTED_WITHIN)
        await connection.execute("insert into agent_status (agent_name) values ('ada')")
        await connection.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " values ('boss', 'ada', 'do it')"
        )

        await one.process.seen("handoff.dispatched", agent="ada")


async def test_it_runs_without_root_rights_or_a_place_to_write(
    built: Engine, migrated: Outside
) -> None:
    async with container(built, options=migrated.options) as one:
        await one.process.seen("daemon.ready", within=STARTED_WITHIN)
        status = Path(f"/proc/{one.pid}/status").read_text().splitlines()
        facts = {key: value.split() for key, _, value in (line.partition(":") for line in status)}

        assert facts["Uid"] == facts["Gid"] == ["10001"] * 4
        assert {facts[name][0] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
        assert facts["NoNewPrivs"] == ["1"]
        for place in ("/", "/tmp", "/opt/coordinator", "/run/secrets"):
            code, said = one.execute("python", "-c", f"open('{place}/x', 'w')")
            assert code == 1
            assert "Read-only file system" in said or "Permission denied" in said, place


async def test_its_health_turns_bad_when_the_daemon_is_frozen_and_good_again(
    built: Engine, migrated: Outside
) -> None:
    async with container(built, options=migrated.options) as one:
        await one.process.seen("daemon.ready", within=STARTED_WITHIN)
        assert one.is_healthy()

        one.send(signal.SIGSTOP)
        assert not one.is_healthy()

        one.send(signal.SIGCONT)
        assert one.is_healthy()


async def test_a_lost_database_makes_it_unready_but_not_unhealthy(
    built: Engine, migrated: Outside
) -> None:
    async def is_ready() -> bool:
        return one.execute("coordinator", "health", "--ready")[0] == 0

    async def is_not_ready() -> bool:
        return one.execute("coordinator", "health", "--ready")[0] == 1

    async with container(built, options=migrated.options) as one:
        await one.process.seen("daemon.ready", within=STARTED_WITHIN)
        assert await is_ready()

        await migrated.server.stop()
        await eventually(is_not_ready)
        assert one.is_healthy()

        await migrated.server.launch()
        await eventually(is_ready)


async def test_being_stopped_it_drains_and_ends_with_0(built: Engine, migrated: Outside) -> None:
    async with container(built, options=migrated.options) as one:
        await one.process.seen("daemon.ready", within=STARTED_WITHIN)

        assert one.stop() == 0

        await one.process.seen("daemon.draining", reason="SIGTERM")
        await one.process.seen("daemon.stopped")


async def test_it_drains_within_the_grace_without_a_database(
    built: Engine, migrated: Outside
) -> None:
    async with container(built, options=migrated.options) as one:
        await one.process.seen("daemon.ready", within=STARTED_WITHIN)
        await migrated.server.stop()
        await one.process.seen("store.lost")

        one.send(signal.SIGTERM)

        assert await one.process.wait(within=DRAINED_WITHIN) == 0


async def test_a_second_container_stands_by_and_takes_over(
    built: Engine, migrated: Outside
) -> None:
    async with (
        container(built, options=migrated.options) as one,
        container(built, options=migrated.options) as other,
    ):
        await one.process.seen("daemon.ready", within=STARTED_WITHIN)
        await other.process.seen("daemon.ready", within=STARTED_WITHIN)
        leads, waits = (one, other) if one.process.logged("leadership.acquired") else (other, one)
        assert waits.process.logged("daemon.ready", role="standby")

        assert leads.stop() == 0

        await waits.process.seen("leadership.acquired")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
