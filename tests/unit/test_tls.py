"""Which hosts are this machine, and what protects the way to the others."""

from pathlib import Path
from typing import Any

import pytest

from coordinator.core.errors import ConfigError
from coordinator.store.dsn import connect_target
from coordinator.store.tls import is_local


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without certificates."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def tls_of(dsn: str) -> tuple[Any, Any]:
    """What the driver is told about the DSN's first host."""
    target = connect_target(dsn)
    told = target.arguments(target.hosts[0])
    return told["ssl"], told["dsn"]


HERE = [
    "/run/postgresql",
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "::ffff:127.0.0.1",
]
ELSEWHERE = [
    "db",
    "db.example",
    "localhost.example",
    "127.example",
    "10.0.0.1",
    "192.168.1.2",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f.1",
    "fe80::1%eth0",
    "::ffff:10.0.0.1",
    "::",
]
"""What only looks like this machine, or is it in a way that nobody writes, is elsewhere."""


@pytest.mark.parametrize("host", HERE)
def test_these_hosts_are_this_machine(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", [*ELSEWHERE, None])
def test_these_hosts_may_be_anywhere(host: str | None) -> None:
    assert not is_local(host)


@pytest.mark.parametrize("host", ["db.example", "10.0.0.1", "[2001:db8::1]"])
def test_another_machine_is_verified_in_full_by_the_systems_roots(host: str) -> None:
    assert tls_of(f"postgresql://{host}/x") == (True, None)
    assert tls_of(f"postgresql://{host}/x?sslmode=verify-full") == (True, None)


def test_where_the_environment_may_lead_is_verified_in_full() -> None:
    assert tls_of("postgresql:///x") == (True, None)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_left_to_the_driver(host: str) -> None:
    assert tls_of(f"postgresql://{host}/x") == (None, None)


def test_a_socket_has_no_tls() -> None:
    assert tls_of("postgresql:///x?host=/run/postgresql&sslmode=verify-full") == (False, None)


@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca"])
def test_what_the_dsn_says_is_done(mode: str) -> None:
    assert tls_of(f"postgresql://db/x?sslmode={mode}") == (None, f"postgresql://?sslmode={mode}")


def test_tls_can_be_turned_off() -> None:
    assert tls_of("postgresql://db/x?sslmode=disable") == (False, None)


def test_the_users_own_roots_come_before_the_systems(home: Path) -> None:
    roots = home / ".postgresql" / "root.crt"
    roots.parent.mkdir()
    roots.touch()

    ssl, dsn = tls_of("postgresql://db/x")

    assert ssl is None
    assert dsn.startswith("postgresql://?sslmode=verify-full&sslrootcert=")
    assert dsn.endswith("root.crt")
    assert tls_of("postgresql://db/x?sslrootcert=system") == (True, None)


def test_named_roots_come_first(home: Path) -> None:
    named = home / "ca.crt"
    named.touch()

    ssl, dsn = tls_of(f"postgresql://db/x?sslrootcert={named}")

    assert (ssl, dsn.split("&")[0]) == (
        None,
        "postgresql://?sslrootcert=" + str(named).replace("/", "%2F"),
    )
    assert "sslmode=verify-full" in dsn


def test_each_host_gets_what_it_needs() -> None:
    target = connect_target("postgresql://localhost,db.example/x")

    assert [target.arguments(host)["ssl"] for host in target.hosts] == [None, True]


def test_what_goes_with_the_systems_roots_is_kept() -> None:
    assert tls_of("postgresql://db/x?sslnegotiation=direct") == (
        True,
        "postgresql://?sslnegotiation=direct",
    )


def test_a_certificate_of_ones_own_needs_roots_beside_it(home: Path) -> None:
    own = home / "own.crt"
    own.touch()

    with pytest.raises(ConfigError, match="needs sslrootcert beside it"):
        tls_of(f"postgresql://db/x?sslcert={own}")


@pytest.mark.parametrize("parameter", ["sslrootcert", "sslcert", "sslkey", "sslcrl"])
def test_a_file_that_cannot_be_read_is_named(parameter: str) -> None:
    with pytest.raises(ConfigError, match=rf"{parameter} /nowhere/x cannot be read"):
        tls_of(f"postgresql://db/x?sslmode=require&{parameter}=/nowhere/x")
