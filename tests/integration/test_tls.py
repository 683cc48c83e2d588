"""TLS end to end: a real server with certificates of the test's own authority.

Its host is written in a way in which nobody writes a loopback address, so it counts as another
machine (see `odd_address`), and no privileges are needed.
"""

import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from coordinator.agents import Agent
from coordinator.core.errors import ConfigError
from coordinator.embedded import ServerBinaries, find_binaries
from coordinator.embedded.identity import identity_for
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from tests.support.certificates import OPENSSL, Authority, Certificate
from tests.support.commands import ended
from tests.support.listening import ListeningServer, listening_server
from tests.support.postgres import TEMPLATE, Database, chosen_binaries, migrated_cluster
from tests.support.processes import RunningProcess, coordinator
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl program")

DEBIANS = Path("/usr/lib/postgresql/15/bin")
USER = "somebody"
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

REFUSED = {
    "another name": ("is for another name", "Write the host as its certificate names it"),
    "nobody we trust": ("is signed by nobody we trust", "sslrootcert=/path/to/ca.crt"),
    "expired": ("has expired", "Renew it on the server"),
    "no TLS": ("offers no TLS", "sslmode=disable"),
}
"""What is said of it, and what to do."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server with certificates to show, and the authority that its clients trust."""

    listening: ListeningServer
    trusted: Authority
    certificates: dict[str, Certificate]

    @property
    def host(self) -> str:
        """The server's name, which does not look like this machine's."""
        return self.listening.odd_address

    def dsn(self, *, host: str | None = None, user: str = USER, **parameters: str) -> str:
        """The way in; it names the trusted authority, unless it is told another `sslrootcert`."""
        given = {"sslrootcert": str(self.trusted.file)} | parameters
        given = {name: value for name, value in given.items() if value}
        return self.listening.dsn(TEMPLATE, user, host=host or self.host, **given)

    async def show(self, what: str) -> None:
        """Show one of the certificates from now on, or, with "no TLS", none."""
        certificate = self.certificates.get(what)
        if certificate is not None:
            folder = self.listening.server.directory
            for source, name in ((certificate.file, "shown.crt"), (certificate.key, "shown.key")):
                shown = folder / name
                shown.unlink(missing_ok=True)
                shown.touch(mode=0o600)
                shown.write_bytes(source.read_bytes())
                identity_for(folder / "data").own(shown)
        await self.set(ssl="off" if certificate is None else "on")
        expected = certificate and ssl.PEM_cert_to_DER_cert(certificate.file.read_text())

        async def is_shown() -> bool:
            return shown_at(self.listening.address) == expected

        await eventually(is_shown)

    async def set(self, **settings: str) -> None:
        """Change settings of the server that need no restart."""
        async with Database("postgres", self.listening.server).connect() as connection:
            for name, value in settings.items():
                await connection.execute(f"alter system set {name} = '{value}'")
            await connection.execute("select pg_reload_conf()")


def shown_at(address: str) -> bytes | None:
    """The certificate that a server shows to whoever asks; None if it knows no TLS."""
    with socket.create_connection((address, 5432), timeout=5) as plain:
        plain.sendall(_SSL_REQUEST)
        if plain.recv(1) != b"S":
            return None
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as encrypted:
            return encrypted.getpeercert(binary_form=True)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """A server of this file's own, whose build knows TLS."""
    folder = tmp_path_factory.mktemp("authorities")
    trusted = Authority.found(folder / "trusted")
    stranger = Authority.found(folder / "stranger")
    async with a_server_that_knows_tls() as listening:
        host = listening.odd_address
        certificates = {
            "good": trusted.certify("db.example", host),
            "another name": trusted.certify("other.example"),
            "nobody we trust": stranger.certify("db.example", host),
            "expired": trusted.certify("old.example", host, expired=True),
        }
        guarded = Guarded(listening, trusted, certificates)
        await migrated_cluster(listening.server)
        async with Database(TEMPLATE, listening.server).connect() as owner:
            await owner.execute(
                f"create role {USER} login in role coordinator_agent, coordinator_daemon"
            )
        files = listening.server.directory
        await guarded.set(ssl_cert_file=f"{files}/shown.crt", ssl_key_file=f"{files}/shown.key")
        yield guarded


@pytest.fixture
async def guarded(server: Guarded) -> Guarded:
    """The server with its good certificate."""
    await server.show("good")
    return server


@asynccontextmanager
async def a_server_that_knows_tls() -> AsyncIterator[ListeningServer]:
    """One of the chosen binaries, else one of Debian's; without either the tests are skipped."""
    for binaries in candidates():
        settings = {"log_connections": "on"}
        async with listening_server(
            "host all all all trust", settings, binaries=binaries
        ) as listening:
            async with Database("postgres", listening.server).connect() as connection:
                knows_tls = await connection.fetchval("show ssl_library")
            if knows_tls:
                yield listening
                return
    pytest.skip("no PostgreSQL here was built with TLS")


def candidates() -> list[ServerBinaries]:
    """Where a server may be found, the one that all tests use first."""
    return [chosen_binaries(), *([find_binaries(DEBIANS)] if DEBIANS.exists() else [])]


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[asyncpg.Record]:
    """Connect as everything of ours does; the session as the server sees it."""
    connection = await Connection.open(connect_target(dsn), application_name="test tls")
    try:
        # Nothing of ours shows the raw connection, and the server should say so itself.
        [row] = await connection._raw.fetch(
            "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
        )
        yield row
    finally:
        await connection.close()


async def refusal(dsn: str) -> str:
    """Why there is no connection; it must be the operator's to mend."""
    with pytest.raises(ConfigError) as caught:
        async with opened(dsn):
            pass
    return str(caught.value)


# Without a word about TLS -----------------------------------------------------------------------


@pytest.mark.parametrize("roots", ["named", "the user's", "the system's"])
async def test_another_machine_with_a_good_certificate_is_trusted(
    guarded: Guarded, roots: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if roots == "the user's":
        (tmp_path / ".postgresql").mkdir()
        (tmp_path / ".postgresql" / "root.crt").write_bytes(guarded.trusted.file.read_bytes())
    elif roots == "the system's":
        monkeypatch.setenv("SSL_CERT_FILE", str(guarded.trusted.file))

    async with opened(guarded.dsn(**({} if roots == "named" else {"sslrootcert": ""}))) as link:
        assert (link["ssl"], link["version"]) == (True, "TLSv1.3")


async def test_daemon_sdk_and_commands_are_let_in_by_a_good_certificate(guarded: Guarded) -> None:
    dsn = guarded.dsn()

    async with a_daemon(dsn) as daemon:
        await daemon.seen("daemon.ready")
        async with Agent.connect(dsn, "ada") as ada:
            assert ada.name == "ada"
        status = await ended("status", env={"DATABASE_URL": dsn})
        daemon.kill(signal.SIGTERM)
        assert (await daemon.wait(), status.code) == (0, 0), status


@pytest.mark.parametrize("case", REFUSED)
async def test_a_server_that_does_not_prove_itself_is_refused_with_the_way_out(
    server: Guarded, case: str
) -> None:
    await server.show(case)
    dsn = server.dsn()

    told = [await refusal(dsn)]
    with pytest.raises(ConfigError) as caught:
        async with Agent.connect(dsn, "ada"):
            pass
    told.append(str(caught.value))
    status = await ended("status", env={"DATABASE_URL": dsn})
    told.append(status.err.replace("\n", " "))
    async with a_daemon(dsn) as daemon:
        code = await daemon.wait()
        told.append(daemon.stderr.replace("\n", " "))

    assert (status.code, code) == (78, 78)
    for text in told:
        assert all(words in text for words in REFUSED[case]), text


@pytest.mark.parametrize("case", REFUSED)
async def test_such_a_server_does_not_learn_who_called(server: Guarded, case: str) -> None:
    await server.show(case)
    name = f"never_sent_{case.replace(' ', '_')}"

    await refusal(server.dsn(user=name))

    assert name not in server.listening.server.log.read_text()


async def test_the_environment_does_not_open_the_way(
    server: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.show("expired")
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.setenv("PGHOST", server.host)

    told = [
        await refusal(server.dsn()),
        await refusal(f"postgresql://{USER}@/{TEMPLATE}?sslrootcert={server.trusted.file}"),
    ]

    assert all("has expired" in text for text in told)


async def test_a_running_daemon_waits_for_a_new_certificate(guarded: Guarded) -> None:
    async with a_daemon(guarded.dsn()) as daemon:
        await daemon.seen("daemon.ready")
        await guarded.show("expired")
        async with Database("postgres", guarded.listening.server).connect() as owner:
            await owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", USER
            )
        await daemon.seen("store.lost")
        await guarded.show("good")

        await daemon.seen("store.restored")


async def test_of_two_hosts_the_one_that_proves_itself_is_taken(guarded: Guarded) -> None:
    """The same server by two names, of which its certificate holds one."""
    _, second, third, fourth = guarded.listening.address.split(".")
    other_name = f"127.{second}.{int(third) * 256 + int(fourth)}"

    async with opened(guarded.dsn(host=f"{other_name}:5432,{guarded.host}")) as link:
        assert link["ssl"]
    assert "another name" in await refusal(guarded.dsn(host=f"{other_name}:5432,{other_name}"))


# What the DSN says ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["another name", "nobody we trust", "expired"])
async def test_require_encrypts_and_does_not_look(server: Guarded, case: str) -> None:
    await server.show(case)

    async with opened(server.dsn(sslmode="require", sslrootcert="")) as link:
        assert link["ssl"]


async def test_disable_needs_no_tls(server: Guarded) -> None:
    await server.show("no TLS")

    async with opened(server.dsn(sslmode="disable", sslrootcert="")) as link:
        assert not link["ssl"]


async def test_verify_ca_takes_any_name_of_a_trusted_authority(server: Guarded) -> None:
    await server.show("another name")

    async with opened(server.dsn(sslmode="verify-ca")) as link:
        assert link["ssl"]


async def test_this_machine_is_reached_with_and_without_tls(server: Guarded) -> None:
    for case, is_encrypted in (("nobody we trust", True), ("no TLS", False)):
        await server.show(case)
        dsn = server.dsn(host=server.listening.address, sslrootcert="")
        async with opened(dsn) as link:
            assert link["ssl"] is is_encrypted


async def test_this_machine_is_verified_where_the_dsn_says_so(server: Guarded) -> None:
    await server.show("nobody we trust")

    told = await refusal(server.dsn(host=server.listening.address, sslmode="verify-full"))

    assert "nobody we trust" in told


async def test_a_file_that_holds_no_certificate_is_the_operators_to_mend(
    guarded: Guarded, tmp_path: Path
) -> None:
    (tmp_path / "junk").write_text("junk")

    told = await refusal(guarded.dsn(sslrootcert=str(tmp_path / "junk")))

    assert "of no use" in told


def a_daemon(dsn: str) -> AbstractAsyncContextManager[RunningProcess]:
    """A daemon by this way in."""
    return coordinator(
        "run",
        env={
            "DATABASE_URL": dsn,
            "COORDINATOR_HEALTH_TCP": "off",
            "COORDINATOR_LOG_FORMAT": "json",
        },
    )
