"""The service under a booted systemd, installed by `coordinator install-service`.

Each test has an instance of the template unit for a database of its own, so that the journal and
the machine's folders are its own too; the plain unit differs from it in names alone (see
`tests/unit/test_install_service.py`). Where a test needs a short watchdog it shortens it by a
drop-in, as an operator would.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest
import pytest_asyncio

from coordinator.store.halves import Half
from tests.integration.schema.world import World
from tests.slow.systemd_machine import (
    BIN,
    MISSING,
    ROOT,
    Machine,
    Said,
    booted,
    dropped_in,
    rebooted,
)
from tests.support.listening import ListeningServer, listening_server
from tests.support.pooler import PGBOUNCER, free_port, pooler
from tests.support.postgres import (
    Cluster,
    Database,
    migrate,
    migrated_cluster,
    migration_files,
)
from tests.support.waiting import eventually

PASSWORD: Final = "planted-password-4419"
LOGIN: Final = "the_service"
GROUP: Final = "coordinator-health"
CONFIG: Final = 78
NO_CREDENTIAL: Final = 243
UNREACHED: Final = 69
SOON: Final = timedelta(seconds=20)
ON_THE_WHOLE_MACHINE: Final = r"""
find / /run /tmp /var/tmp /dev/shm -xdev -path /proc -prune -o -path /sys -prune \
    -o -path /dev -prune -o -path /run/systemd -prune -o -path '*/log/journal/*' -prune \
    -o -path /run/udev -prune \
    -o -printf '%p %y %s %T@ %u\n' | sort -u
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.release,
    pytest.mark.skipif(bool(MISSING), reason="apt-get install debootstrap systemd-container"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot a machine"),
]


# --- the place ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Service:
    """An instance of the unit on a database of its own."""

    machine: Machine
    database: Database
    server: ListeningServer
    name: str

    @property
    def unit(self) -> str:
        return f"coordinator@{self.name}.service"

    @property
    def socket(self) -> str:
        return f"/run/coordinator-{self.name}/health.sock"

    @property
    def credential(self) -> str:
        return f"/etc/coordinator/{self.name}.dsn"

    @property
    def settings_file(self) -> str:
        return f"/etc/coordinator/{self.name}.toml"

    def dsn(self, *, password: str = PASSWORD, database: str | None = None) -> str:
        """The daemon's way in."""
        return self.server.dsn(database or self.database.name, LOGIN, password)

    def install(self, dsn: str | None = None) -> None:
        """Install it as an operator would."""
        self.machine.run(
            f"{BIN}/coordinator", "install-service", "--name", self.name, "--dsn-file", "-",
            stdin=dsn or self.dsn(),
        )  # fmt: skip

    def set(self, **settings: object) -> None:
        """Write the settings file."""
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        self.machine.write(self.settings_file, text)

    def drop_in(self, *lines: str) -> None:
        """Change the unit by a drop-in."""
        self.machine.write(f"/run/systemd/system/{self.unit}.d/test.conf", dropped_in(lines))
        self.machine.run("systemctl", "daemon-reload")

    def start(self) -> Said:
        """Start it, and wait until it is up or has failed."""
        return self.machine.try_("systemctl", "start", self.unit)

    async def lead(self) -> int:
        """Start it until it leads; return its process."""
        said = self.start()
        assert said.code == 0, self.machine.told(self.unit)
        return self.pid

    def signal(self, name: str) -> None:
        """Send the daemon's process a signal."""
        self.machine.run("systemctl", "kill", f"--signal={name}", "--kill-whom=main", self.unit)

    @property
    def pid(self) -> int:
        return int(self.machine.show(self.unit, "MainPID")["MainPID"])

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.machine.logged(self.unit) if line["event"] == event]

    async def logs(self, event: str) -> dict[str, Any]:
        """Wait for a log line of this event."""

        async def probe() -> list[dict[str, Any]]:
            return self.logged(event)

        return (await eventually(probe, within=SOON))[-1]

    async def is_restarted(self, *, within: float = 20) -> None:
        """Wait until systemd has started it anew, once, and it is up."""
        await self.machine.comes_to(
            self.unit, NRestarts="1", ActiveState="active", SubState="running", within=within
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    """A booted machine with the coordinator in /opt/coordinator."""
    assert request.config.cache is not None
    async with booted(request.config.cache.mkdir("systemd")) as machine:
        yield machine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served() -> AsyncIterator[tuple[ListeningServer, Cluster]]:
    """A server on loopback that asks for passwords."""
    async with listening_server("host all all all scram-sha-256") as server:
        cluster = await migrated_cluster(server.server)
        await cluster.admin(
            f"create role {LOGIN} login password '{PASSWORD}' in role coordinator_daemon"
        )
        yield server, cluster


@asynccontextmanager
async def a_service(
    machine: Machine, served: tuple[ListeningServer, Cluster], template: str | None = None
) -> AsyncIterator[Service]:
    server, cluster = served
    options = {"template": template} if template else {}
    async with cluster.database(**options) as database:
        service = Service(machine, database, server, database.name.replace("_", "-"))
        service.install()
        # Enabled, since systemd forgets how a unit ended that nobody refers to.
        machine.run("systemctl", "enable", service.unit)
        try:
            yield service
        finally:
            machine.try_("systemctl", "kill", "--signal=KILL", service.unit)
            machine.try_("systemctl", "disable", "--now", service.unit)
            machine.try_("systemctl", "reset-failed", service.unit)
            machine.try_("rm", "-rf", f"/run/systemd/system/{service.unit}.d")
            machine.try_("systemctl", "daemon-reload")


@pytest.fixture
async def service(
    machine: Machine, served: tuple[ListeningServer, Cluster]
) -> AsyncIterator[Service]:
    """An installed instance that has not been started."""
    async with a_service(machine, served) as service:
        yield service


@pytest.fixture
async def world(service: Service) -> AsyncIterator[World]:
    """The superuser's connection to the service's database."""
    async with World.on(service.database) as world:
        yield world


# --- start, and what is seen ----------------------------------------------------------------------


async def test_the_plain_unit_starts_as_the_pages_tell(machine: Machine, service: Service) -> None:
    port = free_port()
    install = [f"{BIN}/coordinator", "install-service", "--dsn-file", "-"]
    machine.run(*install, stdin=service.dsn())
    # Only since the machine shares the host's ports.
    machine.write("/etc/coordinator/coordinator.toml", f'health_tcp = "127.0.0.1:{port}"\n')
    try:
        machine.run("systemctl", "enable", "--now", "coordinator")

        shown = machine.show("coordinator", "ActiveState", "StatusText", "Result")
        assert shown == {
            "ActiveState": "active",
            "StatusText": "leading, term 1",
            "Result": "success",
        }
        assert 'Status: "leading, term 1"' in machine.run("systemctl", "status", "coordinator")
        health = [f"{BIN}/coordinator", "health", "--ready"]
        machine.run(*health, "--socket", "/run/coordinator/health.sock")
        machine.run(*health, "--address", f"127.0.0.1:{port}")
    finally:
        machine.run("systemctl", "disable", "--now", "coordinator")


async def test_ready_waits_for_a_database_that_starts_later(service: Service) -> None:
    await service.server.server.stop()
    service.machine.run("systemctl", "start", "--no-block", service.unit)
    await service.machine.comes_to(
        service.unit, ActiveState="activating", StatusText="waiting for the database"
    )

    await service.server.server.launch()

    await service.machine.comes_to(
        service.unit, ActiveState="active", StatusText="leading, term 1", NRestarts="0"
    )


async def test_a_standby_beside_a_leader_is_ready_and_says_so(service: Service) -> None:
    await service.lead()
    second = Service(service.machine, service.database, service.server, f"{service.name}-b")
    second.install()
    try:
        assert second.start().code == 0

        shown = service.machine.show(second.unit, "ActiveState", "StatusText")
        assert shown == {"ActiveState": "active", "StatusText": "standing by"}
    finally:
        service.machine.run("systemctl", "stop", second.unit)


async def test_instances_for_several_databases_run_beside_each_other(
    machine: Machine, served: tuple[ListeningServer, Cluster], service: Service
) -> None:
    async with a_service(machine, served) as other, World.on(other.database) as world:
        await service.lead()
        await other.lead()
        machine.run("systemctl", "stop", service.unit)
        await world.agent("ada")

        handoff_id = await world.handoff("ada")

        assert (await other.logs("handoff.dispatched"))["handoff_id"] == str(handoff_id)
        machine.run(f"{BIN}/coordinator", "health", "--socket", other.socket)
        assert service.logged("handoff.dispatched") == []
        assert machine.show(service.unit, "ActiveState") == {"ActiveState": "inactive"}


async def test_levels_are_the_journals_priorities(service: Service, world: World) -> None:
    await service.lead()
    service.machine.write(service.settings_file, "nonsense = 1\n")
    service.signal("HUP")
    await service.logs("config.rejected")
    await world.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'coordinator listener' and datname = current_database()"
    )
    await service.logs("store.restored")

    levels = {line["level"]: line["priority"] for line in service.machine.logged(service.unit)}

    assert levels == {"info": 6, "warning": 4, "error": 3}


# --- the watchdog ---------------------------------------------------------------------------------


async def test_a_stopped_process_is_killed_and_started_again(service: Service) -> None:
    service.drop_in("WatchdogSec=2")
    pid = await service.lead()

    service.signal("STOP")

    await service.is_restarted()
    assert service.pid != pid
    assert "Watchdog timeout" in service.machine.told(service.unit)


async def test_a_frozen_event_loop_is_killed_and_started_again(service: Service) -> None:
    """The process runs, and other threads of it do; its loop waits in open(2) for a writer."""
    service.drop_in("WatchdogSec=2")
    service.set()
    pid = await service.lead()
    file = service.settings_file
    service.machine.run("mkfifo", "--mode=0644", f"{file}.fifo")
    service.machine.run("mv", f"{file}.fifo", file)

    service.signal("HUP")

    await service.machine.comes_to(service.unit, ActiveState="reloading")
    assert "State:\tS" in service.machine.run("cat", f"/proc/{pid}/status")
    service.machine.run("rm", file)
    service.set()
    await service.is_restarted()
    assert service.pid != pid
    assert "Watchdog timeout" in service.machine.told(service.unit)


async def test_one_loop_that_stands_still_is_enough(service: Service) -> None:
    """Nothing from outside can bring one loop to a stand: so the fault is planted."""
    stall, script = f"/etc/coordinator/{service.name}.stall", f"/opt/{service.name}.py"
    service.machine.write(script, PLANTED.replace("STALL", stall))
    service.set(sweep_interval="500ms")
    service.drop_in("WatchdogSec=2", "ExecStart=", f"ExecStart={BIN}/python {script} run")
    pid = await service.lead()

    service.machine.write(stall, "")

    withheld = await service.logs("watchdog.withheld")
    assert (withheld["loop"], withheld["priority"]) == ("sweep", 3)
    assert "State:\tS" in service.machine.run("cat", f"/proc/{pid}/status")
    service.machine.run("rm", stall)
    await service.is_restarted()
    assert service.pid != pid


PLANTED: Final = """\
import sys
from datetime import timedelta
from pathlib import Path

import anyio

from coordinator.cli import main
from coordinator.daemon import parts, sweeping

sound = sweeping._Sweep.run


async def run(self):
    if Path("STALL").exists():
        await anyio.sleep_forever()
    return await sound(self)


sweeping._Sweep.run = run
parts._SLACK = timedelta(seconds=1)
main()
"""


async def test_who_waits_for_a_database_is_given_time_while_its_loops_turn(
    service: Service,
) -> None:
    service.install(f"postgresql://{LOGIN}@127.0.0.1:{free_port()}/nowhere")
    service.drop_in("WatchdogSec=2", "TimeoutStartSec=4")
    service.machine.run("systemctl", "start", "--no-block", service.unit)
    await eventually(lambda: waits_for(service, timedelta(seconds=7)), within=SOON)
    assert service.machine.show(service.unit, "NRestarts") == {"NRestarts": "0"}

    service.signal("STOP")

    await service.machine.comes_to(service.unit, NRestarts="1", ActiveState="activating")


async def test_a_daemon_that_crashes_is_started_again(service: Service) -> None:
    pid = await service.lead()

    service.signal("KILL")

    await service.is_restarted()
    assert service.pid != pid


async def test_after_a_reboot_of_the_machine_it_serves_again(
    request: pytest.FixtureRequest, served: tuple[ListeningServer, Cluster]
) -> None:
    assert request.config.cache is not None
    async with (
        booted(request.config.cache.mkdir("systemd")) as machine,
        a_service(machine, served) as service,
        World.on(service.database) as world,
    ):
        await service.lead()
        await world.agent("ada")

        service.machine = await rebooted(machine)

        await service.machine.comes_to(
            service.unit, ActiveState="active", StatusText="leading, term 2", Result="success"
        )
        handoff_id = await world.handoff("ada")
        assert (await service.logs("handoff.dispatched"))["handoff_id"] == str(handoff_id)


# --- stop and reload ------------------------------------------------------------------------------


async def test_a_stop_drains_within_the_grace_while_work_is_in_progress(
    service: Service, world: World
) -> None:
    service.set(drain_grace="4s", sweep_interval="100ms")
    await service.lead()
    ada = await world.agent("ada")
    handoff_id = await world.handoff("ada")
    await service.logs("handoff.dispatched")
    await world.accept(handoff_id, 1, ada)
    async with World.on(service.database) as stranger:
        locking = stranger.connection.transaction()
        await locking.start()
        await stranger.execute("lock table handoffs in access exclusive mode")
        await a_pass_waits(stranger)

        service.machine.run("systemctl", "stop", service.unit)

        await locking.rollback()
    shown = service.machine.show(service.unit, "Result", "ExecMainStatus", "ExecMainCode")
    assert shown == {"Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1"}
    assert took(service) < timedelta(seconds=4.5)
    assert service.logged("daemon.stopped")
    assert await world.state(handoff_id) == ("in_progress", None)


async def test_a_stop_while_the_database_is_away_ends_well_too(service: Service) -> None:
    service.install(f"postgresql://{LOGIN}@127.0.0.1:{free_port()}/nowhere")
    service.machine.run("systemctl", "start", "--no-block", service.unit)
    await service.logs("store.lost")

    service.machine.run("systemctl", "stop", service.unit)

    shown = service.machine.show(service.unit, "ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}


async def test_a_reload_applies_what_changed(service: Service) -> None:
    service.set(stale_after="45s")
    pid = await service.lead()
    service.set(stale_after="50s")

    service.machine.run("systemctl", "reload", service.unit)

    assert (await service.logs("daemon.reloaded"))["applied"] == ["stale_after"]
    shown = service.machine.show(service.unit, "ActiveState", "StatusText", "MainPID")
    assert shown == {
        "ActiveState": "active",
        "StatusText": "leading, term 1",
        "MainPID": str(pid),
    }


async def test_a_reload_of_a_wrong_file_fails_and_the_old_settings_stay(service: Service) -> None:
    service.set(log_level="debug")
    pid = await service.lead()
    service.set(log_levle="info")

    assert service.machine.try_("systemctl", "reload", service.unit).code != 0

    assert "did you mean log_level?" in service.machine.told(service.unit)
    assert service.logged("daemon.reloaded") == service.logged("config.rejected") == []
    # And so does the daemon itself, where somebody sends the signal without asking first.
    service.signal("HUP")
    assert "log_levle" in (await service.logs("config.rejected"))["reason"]
    after = len(service.logged("pass.completed"))
    await eventually(lambda: grew(service, "pass.completed", after), within=SOON)
    assert service.pid == pid


# --- secrets, files, the socket, the sandbox ------------------------------------------------------


async def test_the_credential_is_read_and_shown_nowhere(service: Service, world: World) -> None:
    machine, pid = service.machine, await service.lead()

    seen = {
        "systemctl show": machine.run("systemctl", "show", service.unit),
        "systemctl cat": machine.run("systemctl", "cat", service.unit),
        "the environment": machine.run("cat", f"/proc/{pid}/environ"),
        "the command line": machine.run("cat", f"/proc/{pid}/cmdline"),
        "ps": machine.run("cat", *(f"/proc/{pid}/{name}" for name in ("stat", "comm"))),
        "the journal": machine.run("journalctl", "--all", "--output=export", "-u", service.unit),
    }

    # It came in with the password: the server lets nobody in without.
    logged_in = await world.value(
        "select count(*) from pg_stat_activity where usename = $1 and datname = current_database()",
        LOGIN,
    )
    assert logged_in > 0
    assert [where for where, text in seen.items() if PASSWORD in text] == []
    assert "CREDENTIALS_DIRECTORY" in seen["the environment"]  # it is the right process
    assert machine.run("stat", "--format=%a %U:%G", service.credential) == "600 root:root\n"


async def test_nothing_is_written_outside_the_runtime_directory(
    service: Service, world: World
) -> None:
    machine = service.machine
    service.set()
    before = on_the_whole_machine(machine)
    pid = await service.lead()
    await world.agent("ada")
    await world.handoff("ada")
    await service.logs("handoff.dispatched")
    service.set()
    machine.run("systemctl", "reload", service.unit)
    [uid] = {machine.run("stat", "--format=%u", f"/proc/{pid}").strip()}

    its_own = machine.run("find", "/", "/run", "/tmp", "/dev/shm", "-xdev", "-user", uid).split()
    machine.run("systemctl", "stop", service.unit)

    of_the_daemon = {path for path in its_own if not path.startswith("/dev/pts/")}
    assert of_the_daemon - credentials(of_the_daemon) == {
        f"/run/coordinator-{service.name}",
        service.socket,
    }
    changed = before ^ on_the_whole_machine(machine)
    assert [line for line in changed if not of_systemd(line, service)] == []


async def test_the_socket_is_for_its_group_and_nobody_else(service: Service) -> None:
    machine = service.machine
    await service.lead()
    gid = machine.run("getent", "group", GROUP).split(":")[2]
    health = [f"{BIN}/coordinator", "health", "--socket", service.socket]
    somebody = ["setpriv", "--reuid=4242", "--regid=4242"]

    member = machine.try_(*somebody, f"--groups={gid}", *health)
    stranger = machine.try_(*somebody, "--clear-groups", *health)

    assert (member.code, stranger.code) == (0, UNREACHED)
    assert "Permission denied" in stranger.err
    runtime = f"/run/coordinator-{service.name}"
    assert machine.run("stat", "--format=%a %G", runtime, service.socket).splitlines() == [
        f"750 {GROUP}",
        f"660 {GROUP}",
    ]


def test_the_sandbox_bites(machine: Machine) -> None:
    """Acts that root in the machine can do are refused to what runs under the unit."""
    name = "probe"
    machine.run(
        f"{BIN}/coordinator", "install-service", "--name", name, "--dsn-file", "-",
        stdin="postgresql://somebody@127.0.0.1/x",
    )  # fmt: skip
    unit = f"coordinator@{name}.service"
    machine.write("/opt/acts.py", (ROOT / "tests/slow/forbidden_acts.py").read_text())
    machine.write("/home/visitor/letter", "dear reader")
    machine.run("install", "-d", "--mode=1777", "/srv/open")
    lines = ["Type=oneshot", "Restart=no", "ExecStart=", f"ExecStart={BIN}/python /opt/acts.py"]
    machine.write(f"/run/systemd/system/{unit}.d/test.conf", dropped_in(lines))
    machine.run("systemctl", "daemon-reload")

    free = json.loads(machine.run("env", "RUNTIME_DIRECTORY=/tmp", f"{BIN}/python", "/opt/acts.py"))
    machine.run("systemctl", "start", unit)
    [bound] = [json.loads(text) for text in machine.told(unit).splitlines() if text[:1] == "{"]

    assert {act: how for act, how in free.items() if how != "done"} == {}
    assert {act: how for act, how in bound.items() if how == "done"} == {}
    assert free.keys() == bound.keys()


@pytest.mark.parametrize("unit", ["coordinator", "coordinator@"])
def test_the_units_are_well_formed_and_expose_little(machine: Machine, unit: str) -> None:
    name = f"/etc/systemd/system/{unit}.service"
    options = ["--name", "probe"] if unit.endswith("@") else []
    machine.run(
        f"{BIN}/coordinator", "install-service", "--dsn-file", "-", *options,
        stdin="postgresql://somebody@127.0.0.1/x",
    )  # fmt: skip

    verified = machine.try_("systemd-analyze", "verify", name.replace("@.", "@probe."))
    exposure = ["systemd-analyze", "security", "--offline=yes", "--no-pager"]

    assert (verified.code, verified.out, verified.err) == (0, "", "")
    assert machine.try_(*exposure, "--threshold=15", name).code == 0
    assert machine.try_(*exposure, "--threshold=5", name).code != 0  # the look itself


# --- bad starts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BadStart:
    """What is wrong, and the words that name it."""

    spoil: Callable[[Service], None]
    says: str
    code: int = CONFIG


def a_credential(text: str) -> Callable[[Service], None]:
    return lambda service: service.machine.write(service.credential, text, mode=0o600)


def without_a_credential(service: Service) -> None:
    service.machine.run("rm", service.credential)


def without_a_settings_file(service: Service) -> None:
    service.machine.run("rm", service.settings_file)


def with_an_unreadable_file(service: Service) -> None:
    service.machine.run("chmod", "0600", service.settings_file)


def with_an_unknown_key(service: Service) -> None:
    service.set(stale_aftr="1m")


def with_a_taken_socket(service: Service) -> None:
    script = (
        "import os, signal, socket; s = socket.socket(socket.AF_UNIX);"
        f"os.makedirs(os.path.dirname({service.socket!r}), exist_ok=True);"
        f"s.bind({service.socket!r}); s.listen(); signal.pause()"
    )
    service.machine.run(
        "systemd-run", f"--unit=taken-{service.name}", f"{BIN}/python", "-c", script
    )
    service.machine.run("timeout", "10", "sh", "-c", f"until test -S {service.socket}; do :; done")


BAD_STARTS: Final = {
    "wrong password": BadStart(
        lambda service: service.install(service.dsn(password="another")),
        "password authentication failed",
    ),
    "no such database": BadStart(
        lambda service: service.install(service.dsn(database="nowhere")), '"nowhere" does not exist'
    ),
    "no DSN": BadStart(a_credential("postgresql://me:hunter2@localhost:port/db\n"), "DSN"),
    "empty credential": BadStart(a_credential("\n"), "is empty"),
    "no credential": BadStart(without_a_credential, "credentials", NO_CREDENTIAL),
    "no settings file": BadStart(without_a_settings_file, "cannot be read"),
    "unreadable file": BadStart(with_an_unreadable_file, "Permission denied"),
    "unknown key": BadStart(with_an_unknown_key, "did you mean stale_after?"),
    "socket in use": BadStart(with_a_taken_socket, "health.sock"),
}


@pytest.mark.parametrize("bad", BAD_STARTS.values(), ids=BAD_STARTS)
async def test_a_bad_start_is_told_once_and_not_tried_again(
    service: Service, bad: BadStart
) -> None:
    service.set()
    bad.spoil(service)

    said = service.start()

    assert said.code != 0
    refused(service, bad.says, code=bad.code)


async def test_a_taken_port_is_a_bad_start(service: Service) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        service.drop_in(f"Environment=COORDINATOR_HEALTH_TCP=127.0.0.1:{port}")

        assert service.start().code != 0

    refused(service, f"127.0.0.1:{port}")


async def test_an_empty_database_is_a_bad_start(
    machine: Machine, served: tuple[ListeningServer, Cluster]
) -> None:
    async with a_service(machine, served, "template1") as service:
        assert service.start().code != 0

        refused(service, "coordinator migrate")


async def test_an_older_schema_is_a_bad_start(
    machine: Machine, served: tuple[ListeningServer, Cluster]
) -> None:
    async with a_service(machine, served, "template1") as service:
        async with service.database.connect() as connection:
            await migrate(connection, migration_files(Half.COORDINATION)[:-1])

        assert service.start().code != 0

        refused(service, "coordinator migrate")


async def test_a_newer_schema_is_a_bad_start(service: Service, world: World) -> None:
    await world.execute(
        "insert into coordination.migrations values ('20991231000000', 'breaking_later', '')"
    )

    assert service.start().code != 0

    refused(service, "is newer than this release can work with")


async def test_a_standby_server_is_a_bad_start(service: Service) -> None:
    async with listening_server("host all all all trust") as server:
        async with Database("postgres", server.server).connect() as connection:
            await connection.execute(f"create role {LOGIN} login")
        await server.server.stop()
        data = server.server.directory / "data"
        sign = data / "standby.signal"
        sign.touch()
        shutil.chown(sign, data.stat().st_uid, data.stat().st_gid)
        await server.server.launch()
        service.install(server.dsn("postgres", LOGIN))

        assert service.start().code != 0

    refused(service, "is a standby")


@pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer")
async def test_a_pooler_in_transaction_mode_is_a_bad_start(service: Service) -> None:
    async with pooler(service.database, "transaction") as pool:
        service.install(pool.dsn)

        assert service.start().code != 0

    refused(service, "pooler in transaction mode")


async def test_an_unreachable_database_is_waited_for(service: Service) -> None:
    service.install(f"postgresql://{LOGIN}@127.0.0.1:{free_port()}/{service.database.name}")

    service.machine.run("systemctl", "start", "--no-block", service.unit)

    await service.machine.comes_to(
        service.unit,
        ActiveState="activating",
        StatusText="waiting for the database",
        NRestarts="0",
    )
    assert len(service.logged("store.lost")) == 1


# --- looks ----------------------------------------------------------------------------------------


def refused(service: Service, words: str, *, code: int = CONFIG) -> None:
    """The start failed with this code and these words, and systemd leaves it at that."""
    shown = service.machine.show(
        service.unit, "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts"
    )
    told = service.machine.told(service.unit)
    assert shown == {
        "ActiveState": "failed",
        "SubState": "failed",
        "Result": "exit-code",
        "ExecMainStatus": str(code),
        "NRestarts": "0",
    }, told
    assert words in told
    assert "hunter2" not in told
    assert "Traceback" not in told
    assert "stacktrace" not in told
    errors = [
        str(entry["MESSAGE"])
        for entry in service.machine.journal(service.unit)
        if entry.get("_SYSTEMD_UNIT") == service.unit and int(entry["PRIORITY"]) <= 3
    ]
    lines = [line for line in errors if line.startswith("error: ")]
    assert len(lines) == (1 if code == CONFIG else 0), errors


async def waits_for(service: Service, span: timedelta) -> bool:
    """Whether this life of the daemon has been starting for so long."""
    shown = service.machine.show(service.unit, "ActiveState", "ExecMainStartTimestampMonotonic")
    began = int(shown["ExecMainStartTimestampMonotonic"]) / 1_000_000
    return shown["ActiveState"] == "activating" and time.monotonic() - began > span.total_seconds()


def took(service: Service) -> timedelta:
    """How long the last stop took, by systemd's own clock."""
    names = ("InactiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic")
    shown = service.machine.show(service.unit, *names)
    ended, began = (int(shown[name]) for name in names)
    return timedelta(microseconds=ended - began)


async def a_pass_waits(stranger: World) -> None:
    """Wait until the daemon waits for a lock."""

    async def probe() -> bool:
        waiting = await stranger.value(
            "select count(*) from pg_stat_activity where usename = $1"
            " and datname = current_database() and wait_event_type = 'Lock'",
            LOGIN,
        )
        return bool(waiting)

    await eventually(probe)


async def grew(service: Service, event: str, before: int) -> bool:
    return len(service.logged(event)) > before


def on_the_whole_machine(machine: Machine) -> set[str]:
    """Every file of the machine with its kind, size, time and owner."""
    return set(machine.run("sh", "-c", ON_THE_WHOLE_MACHINE).splitlines())


def credentials(paths: set[str]) -> set[str]:
    return {path for path in paths if path.startswith("/run/credentials/")}


def of_systemd(line: str, service: Service) -> bool:
    """Whether systemd, or the test itself, makes this: folders of private files, the settings."""
    path = line.split(" ")[0]
    folders = {"/run", "/run/credentials", "/tmp", "/var/tmp", "/etc/coordinator"}
    private = ("/tmp/systemd-private-", "/var/tmp/systemd-private-", "/run/credentials/")
    return path in {*folders, service.settings_file} or path.startswith(private)
