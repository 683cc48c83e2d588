"""How a DSN is read, and what is refused."""

import socket
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, quote_plus

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.errors import ConfigError
from coordinator.store.dsn import Host, Keepalive, connect_target

TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)


def refusal(dsn: str) -> str:
    with pytest.raises(ConfigError) as caught:
        connect_target(dsn)
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_uri_is_taken_apart(scheme: str) -> None:
    target = connect_target(f"{scheme}://ada:s%40cret@db.example:6543/work")

    assert target.hosts == (Host("db.example", 6543),)
    assert (target.user, target.password, target.database) == ("ada", "s@cret", "work")


def test_words_are_taken_apart() -> None:
    target = connect_target(r"host=a,b port=1,2 user = ada password='it\'s me' dbname=work ")

    assert target.hosts == (Host("a", 1), Host("b", 2))
    assert (target.user, target.password, target.database) == ("ada", "it's me", "work")


def test_what_is_not_said_is_left_to_the_driver() -> None:
    target = connect_target("postgresql://")

    assert target.hosts == (Host(None, None),)
    assert (target.user, target.password, target.database) == (None, None, None)


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://a,b:5433,[::1]:5434/x", ("a", None, "b", 5433, "::1", 5434)),
        ("postgresql://%2Frun%2Fpg:5433/x", ("/run/pg", 5433)),
        ("postgresql:///x?host=/run/pg&port=5433", ("/run/pg", 5433)),
        ("postgresql:///x?host=a,b&port=5433", ("a", 5433, "b", 5433)),
        ("postgresql:///x?hostaddr=10.0.0.1", ("10.0.0.1", None)),
        ("postgresql://ada@/x", (None, None)),
    ],
)
def test_hosts_are_found_wherever_they_are_written(dsn: str, hosts: tuple[object, ...]) -> None:
    found = [part for host in connect_target(dsn).hosts for part in (host.host, host.port)]

    assert tuple(found) == hosts


@given(user=TEXT, password=TEXT, database=TEXT)
def test_a_uri_gives_back_what_was_encoded(user: str, password: str, database: str) -> None:
    encoded = [quote(text, safe="") for text in (user, password, database)]

    target = connect_target("postgresql://{}:{}@db/{}".format(*encoded))

    assert (target.user, target.password, target.database) == (user, password, database)


@given(
    password=TEXT.map(lambda text: f"hunter2{text}hunter2"),
    rest=st.sampled_from(
        ["", "/x", "/x?sslmode=nope", "/x?nope=1", "/x?connect_timeout=x", "/x?port=1,2", ":99999"]
    ),
)
def test_no_text_from_here_holds_the_password(password: str, rest: str) -> None:
    for written in (quote(password, safe=""), password):
        dsn = f"postgresql://ada:{written}@db{rest}"
        try:
            target = connect_target(dsn)
            told = f"{target} {target!r}"
        except ConfigError as error:
            told = f"{error} {error!r} {error.__cause__}"

        assert "hunter2" not in told


def test_a_redacted_dsn_shows_where_it_leads() -> None:
    dsn = "postgresql://ada:hunter2@a,[::1]:5433/work?sslpassword=hunter2"

    assert str(connect_target(dsn)) == "postgresql://ada@a:5432,[::1]:5433/work"


@pytest.mark.parametrize("character", "/?#")
def test_a_special_character_in_a_password_is_explained(character: str) -> None:
    text = refusal(f"postgresql://ada:pass{character}word@db/x")

    assert "percent-encoded" in text
    assert "word@" not in text


def test_a_raw_at_sign_in_a_password_is_understood() -> None:
    assert connect_target("postgresql://ada:p@ss@db/x").password == "p@ss"


@pytest.mark.parametrize(
    "dsn", ["https://x.supabase.co", "postgresql+asyncpg://db/x", "jdbc:postgresql://db/x"]
)
def test_an_address_of_another_kind_is_refused(dsn: str) -> None:
    assert "does not begin with postgresql://" in refusal(dsn)


@pytest.mark.parametrize("dsn", ["db", "host=db user='ada", "host=db secret words"])
def test_words_that_are_no_pairs_are_refused(dsn: str) -> None:
    assert "neither a postgresql:// address nor a row of key=value words" in refusal(dsn)


def test_times_and_keepalive_are_translated() -> None:
    target = connect_target(
        "postgresql://db/x?connect_timeout=3&keepalives=1&keepalives_idle=30"
        "&keepalives_interval=10&keepalives_count=4&tcp_user_timeout=2500"
    )

    assert target.connect_timeout == timedelta(seconds=3)
    assert target.keepalive == Keepalive(
        enabled=True,
        idle=timedelta(seconds=30),
        interval=timedelta(seconds=10),
        count=4,
        user_timeout=timedelta(milliseconds=2500),
    )


def test_keepalive_is_on_unless_turned_off() -> None:
    assert connect_target("postgresql://db/x").keepalive == Keepalive()
    assert not connect_target("postgresql://db/x?keepalives=0").keepalive.enabled


def test_keepalive_can_be_set_on_a_socket() -> None:
    keepalive = Keepalive(idle=timedelta(seconds=7))

    with socket.socket() as tcp:
        for option in keepalive.socket_options():
            tcp.setsockopt(*option)

        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7


def test_zero_leaves_the_systems_own_value() -> None:
    nothing = Keepalive(enabled=True, idle=timedelta(), user_timeout=timedelta())

    options = {option for _, option, _ in nothing.socket_options()}

    assert not {socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT} & options


def test_settings_of_the_server_are_passed_on() -> None:
    target = connect_target("postgresql://db/x?application_name=c&options=-c%20jit%3Doff")

    assert target.server_settings == {"application_name": "c", "options": "-c jit=off"}


def test_a_fallback_name_is_used_when_there_is_no_other() -> None:
    fallback = "fallback_application_name=b"

    assert connect_target(fallback).server_settings == {"application_name": "b"}
    assert connect_target(f"application_name=a {fallback}").server_settings == {
        "application_name": "a"
    }


@pytest.mark.parametrize(
    "parameter",
    [
        "channel_binding=prefer",
        "channel_binding=require&sslmode=verify-full",
        "gssencmode=disable",
        "pgbouncer=true",
        "client_encoding=UTF8",
        "sslsni=1",
    ],
)
def test_what_changes_nothing_is_left_out(parameter: str) -> None:
    assert connect_target(f"postgresql://db/x?{parameter}").server_settings == {}


@pytest.mark.parametrize(
    ("parameter", "fix"),
    [
        ("channel_binding=require", "sslmode=verify-full"),
        ("gssencmode=require", "Use TLS instead"),
        ("service=work", "into the DSN"),
        ("schema=app", "schema public"),
        ("client_encoding=latin1", "UTF-8"),
        ("statement_timeout=5", "options=-c name=value"),
        ("require_auth=scram-sha-256", "Leave it out"),
        ("host=a&hostaddr=10.0.0.1", "Write the address as host"),
        ("load_balance_hosts=random", "Leave it out"),
    ],
)
def test_what_the_driver_cannot_do_is_refused_by_name(parameter: str, fix: str) -> None:
    text = refusal(f"postgresql:///x?{parameter}")

    assert f"parameter {parameter.split('&')[-1].partition('=')[0]} cannot be honoured" in text
    assert fix in text


@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        ("postgresql://db:0/x", "a port in the DSN is not a number"),
        ("postgresql://db:x/x", "a port in the DSN is not a number"),
        ("postgresql:///x?host=a,b,c&port=1,2", "3 hosts and 2 ports"),
        ("postgresql://db/x?connect_timeout=0", "connect_timeout must not be 0"),
        ("postgresql://db/x?connect_timeout=-1", "connect_timeout is not a whole number"),
        ("postgresql://db/x?keepalives_idle=soon", "keepalives_idle is not a whole number"),
        ("postgresql://db/x?sslmode=on", "sslmode is 'on'"),
        ("postgresql://db/x?target_session_attrs=standby", "it needs the primary"),
        ("postgresql://db/x?sslmode=require&sslrootcert=system", "sslrootcert=system goes with"),
        ("postgresql://db/x?sslcert=c&sslrootcert=system", "it does not go with sslcert"),
        ("postgresql://db/x?sslmode", "a parameter of the DSN has no value"),
        ("postgresql://[::1/x", "the DSN's host is not readable"),
    ],
)
def test_a_wrong_value_is_refused_by_name(dsn: str, reason: str) -> None:
    assert reason in refusal(dsn)


def test_several_hosts_are_searched_for_the_primary() -> None:
    assert connect_target("postgresql://a,b/x").target_session_attrs == "primary"
    assert connect_target("postgresql://a/x").target_session_attrs == "any"
    assert (
        connect_target("postgresql://a,b/x?target_session_attrs=any").target_session_attrs == "any"
    )


def test_certificates_reach_the_driver_beside_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "ca .crt"
    file.touch()
    target = connect_target(f"postgresql://a/x?sslmode=verify-ca&sslrootcert={quote(str(file))}")

    arguments = target.arguments(target.hosts[0])

    named = quote_plus(str(file))
    assert arguments["dsn"] == f"postgresql://?sslmode=verify-ca&sslrootcert={named}"
    assert (arguments["host"], arguments["database"]) == ("a", "x")


def test_the_systems_roots_mean_full_verification() -> None:
    target = connect_target("postgresql://a/x?sslrootcert=system")

    arguments = target.arguments(target.hosts[0])

    assert (arguments["ssl"], arguments["dsn"]) == (True, None)


@pytest.mark.parametrize(
    "query", ["", "?sslmode=disable&connect_timeout=2", "?sslmode=prefer&application_name=c"]
)
async def test_the_driver_takes_the_arguments(query: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        target = connect_target(f"postgresql://ada:x@127.0.0.1:{port}/work{query}")

        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(**target.arguments(target.hosts[0]))
