"""How to reach the database: a DSN as people write it for libpq, made into what asyncpg takes.

asyncpg hands every parameter that it does not know to the server, which then refuses the
connection: `connect_timeout` or `keepalives` in a DSN that psql takes are "unrecognized
configuration parameter" here. And its time limit covers a whole list of hosts, so that a silent
first host hides a healthy second. So the DSN is taken apart here: the caller connects to one host
after the other, each with its own limit, and sets the socket options itself.

What libpq means and asyncpg cannot do is refused by name, never dropped in silence, unless leaving
it out changes nothing. No error from here holds a password.
"""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from coordinator.core.errors import ConfigError
from coordinator.core.hidden import Hidden
from coordinator.store import tls
from coordinator.store.dsn_text import ENCODE, parameters_of

_DEFAULT_CONNECT_TIMEOUT = timedelta(seconds=5)
_DEFAULT_PORT = 5432

_TLS = frozenset(
    {
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "krbsrvname",
        "gsslib",
    }
)
_SERVER_SETTINGS = frozenset({"application_name", "options"})
_TAKEN = (
    _TLS
    | _SERVER_SETTINGS
    | {
        "host",
        "port",
        "user",
        "password",
        "passfile",
        "dbname",
        "target_session_attrs",
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    }
)

# Leaving these out changes nothing; None stands for any value.
_HARMLESS: Mapping[str, frozenset[str] | None] = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"auto", "utf8", "utf-8"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "load_balance_hosts": frozenset({"disable"}),
    "pgbouncer": None,
    "sslcompression": frozenset({"0"}),
    "sslsni": frozenset({"1"}),
}
_FIXES: Mapping[str, str] = {
    "channel_binding": "Write sslmode=verify-full with it: the certificate then proves the server.",
    "client_encoding": "Leave it out: the coordinator speaks UTF-8.",
    "gssencmode": "Use TLS instead: sslmode=verify-full.",
    "hostaddr": "Write the address as host.",
    "schema": "Leave it out: the coordinator's tables are in the schema public.",
    "service": "Write the parameters of the service into the DSN.",
}
_SESSION_ATTRIBUTES = frozenset({"any", "primary", "read-write"})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


@dataclass(frozen=True, slots=True)
class Keepalive:
    """How a TCP connection notices that its other end has vanished: after four seconds.

    What is sent in the fourth second of silence stops the kernel's probes and begins the time
    anew, so it takes eight at most; every link of the daemon must be back within ten.
    """

    enabled: bool = True
    idle: timedelta = timedelta(seconds=2)
    interval: timedelta = timedelta(seconds=1)
    count: int = 2
    user_timeout: timedelta = timedelta(seconds=4)

    def socket_options(self) -> Iterator[tuple[int, int, int]]:
        """Yield (level, option, value) for `setsockopt`, as far as this platform has them."""
        yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self.enabled)
        named = {"TCP_USER_TIMEOUT": self.user_timeout // timedelta(milliseconds=1)}
        if self.enabled:
            named |= {
                "TCP_KEEPIDLE": self.idle // timedelta(seconds=1),
                "TCP_KEEPINTVL": self.interval // timedelta(seconds=1),
                "TCP_KEEPCNT": self.count,
            }
        for name, value in named.items():
            # Zero leaves the system's own value, as in libpq.
            if value and hasattr(socket, name):
                yield socket.IPPROTO_TCP, getattr(socket, name), value


@dataclass(frozen=True, slots=True)
class Host:
    """One place where the server may be; None leaves the choice to asyncpg (PGHOST, sockets)."""

    host: str | None
    port: int | None

    def __str__(self) -> str:
        """Show the place as it stands in a DSN."""
        if self.host is None:
            return ""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port or _DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class ConnectTarget:
    """A DSN taken apart: hosts to be tried in order, and what holds for each of them."""

    hosts: tuple[Host, ...]
    user: str | None
    password: Hidden | None
    database: str | None
    passfile: str | None
    server_settings: Mapping[str, str]
    target_session_attrs: str
    connect_timeout: timedelta
    keepalive: Keepalive
    security: Mapping[str, str] = field(repr=False)

    def arguments(self, host: Host) -> dict[str, Any]:
        """Return the keyword arguments of `asyncpg.connect` for one of the hosts."""
        return {
            **tls.arguments(host.host, self.security),
            "host": host.host,
            "port": host.port,
            "user": self.user,
            # To be asked for: the driver hands it on by itself, and takes only a plain text.
            "password": self.password.plain if self.password else None,
            "database": self.database,
            "passfile": self.passfile,
            "server_settings": dict(self.server_settings) or None,
            "target_session_attrs": self.target_session_attrs,
            "timeout": self.connect_timeout.total_seconds(),
        }

    def beginning_after(self, silent: Host) -> "ConnectTarget":
        """Return the same target with the hosts behind this one first, and itself last.

        A primary that was left behind still answers to a greeting, but to no commit.
        """
        if silent not in self.hosts:
            return self
        behind = self.hosts.index(silent) + 1
        return replace(self, hosts=self.hosts[behind:] + self.hosts[:behind])

    def __str__(self) -> str:
        """Show where it leads, without secrets."""
        user = f"{self.user}@" if self.user else ""
        hosts = ",".join(map(str, self.hosts))
        return f"postgresql://{user}{hosts}/{self.database or ''}"


def connect_target(dsn: str) -> ConnectTarget:
    """Take a DSN apart, in URI form or as `key=value` words; raise ConfigError if it cannot be."""
    dsn = Hidden(dsn)
    try:
        return _target(parameters_of(dsn))
    except ConfigError as error:
        # Without the way here: its variables are parts of the DSN.
        raise error.with_traceback(None) from None


def _target(given: dict[str, str]) -> ConnectTarget:
    parameters = _with_stand_ins(given)
    _refuse_what_is_lost(parameters)
    hosts = _hosts(parameters.get("host", ""), parameters.get("port", ""))
    return ConnectTarget(
        hosts=hosts,
        user=parameters.get("user") or None,
        password=Hidden(parameters["password"]) if parameters.get("password") else None,
        database=parameters.get("dbname") or None,
        passfile=parameters.get("passfile") or None,
        server_settings={name: parameters[name] for name in _SERVER_SETTINGS & set(parameters)},
        target_session_attrs=_session_attributes(parameters, several=len(hosts) > 1),
        connect_timeout=_connect_timeout(parameters),
        keepalive=_keepalive(parameters),
        security={name: parameters[name] for name in sorted(_TLS) if parameters.get(name)},
    )


def _with_stand_ins(parameters: dict[str, str]) -> dict[str, str]:
    parameters = dict(parameters)
    if not parameters.get("host") and "hostaddr" in parameters:
        parameters["host"] = parameters.pop("hostaddr")
    fallback = parameters.pop("fallback_application_name", None)
    if fallback is not None:
        parameters.setdefault("application_name", fallback)
    return parameters


def _refuse_what_is_lost(parameters: dict[str, str]) -> None:
    for name, value in list(parameters.items()):
        if name in _TAKEN:
            continue
        if not _is_harmless(name, value, parameters):
            raise ConfigError(
                f"the DSN's parameter {name} cannot be honoured",
                "the driver does not know it, and to drop it could change what you mean",
                _FIXES.get(
                    name, "Leave it out; a server setting is written options=-c name=value."
                ),
            )
        del parameters[name]
    _one_of(parameters, "sslmode", _SSL_MODES)
    if parameters.get("sslrootcert") == "system":
        _check_system_roots(parameters)


def _check_system_roots(parameters: Mapping[str, str]) -> None:
    beside = sorted(_TLS & set(parameters) - {"sslmode", "sslrootcert"})
    if parameters.get("sslmode", "verify-full") != "verify-full" or beside:
        raise ConfigError(
            "the DSN's sslrootcert=system goes with sslmode=verify-full alone",
            f"it does not go with {', '.join(beside)}" if beside else None,
            "Write sslmode=verify-full, or name a certificate file as sslrootcert.",
        )


def _is_harmless(name: str, value: str, parameters: Mapping[str, str]) -> bool:
    if name == "channel_binding" and parameters.get("sslmode") == "verify-full":
        return True
    if name not in _HARMLESS:
        return False
    values = _HARMLESS[name]
    return values is None or value.lower() in values


def _hosts(host_list: str, port_list: str) -> tuple[Host, ...]:
    hosts = host_list.split(",")
    ports = [_port(port) for port in port_list.split(",")]
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ConfigError(
            f"the DSN has {len(hosts)} hosts and {len(ports)} ports",
            fix="Write one port for all, or one for each host.",
        )
    return tuple(Host(host or None, port) for host, port in zip(hosts, ports, strict=True))


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ConfigError(
            "a port in the DSN is not a number from 1 to 65535",
            "if a password holds a special character, the address is cut at the wrong place",
            ENCODE,
        )
    return int(text)


def _session_attributes(parameters: Mapping[str, str], *, several: bool) -> str:
    _one_of(parameters, "target_session_attrs", _SESSION_ATTRIBUTES)
    # With one host a standby is better named by the check at start than by "no host matched".
    return parameters.get("target_session_attrs", "primary" if several else "any")


def _connect_timeout(parameters: Mapping[str, str]) -> timedelta:
    seconds = _number(parameters, "connect_timeout")
    if seconds is None:
        return _DEFAULT_CONNECT_TIMEOUT
    if seconds == 0:
        raise ConfigError(
            "the DSN's connect_timeout must not be 0",
            "a silent host would be waited for without end",
            "Write the seconds to wait for each host, such as connect_timeout=5.",
        )
    return timedelta(seconds=seconds)


def _keepalive(parameters: Mapping[str, str]) -> Keepalive:
    default = Keepalive()

    def span(name: str, unit: timedelta, otherwise: timedelta) -> timedelta:
        number = _number(parameters, name)
        return otherwise if number is None else number * unit

    second = timedelta(seconds=1)
    count = _number(parameters, "keepalives_count")
    return Keepalive(
        enabled=_number(parameters, "keepalives") != 0,
        idle=span("keepalives_idle", second, default.idle),
        interval=span("keepalives_interval", second, default.interval),
        count=default.count if count is None else count,
        user_timeout=span("tcp_user_timeout", second / 1000, default.user_timeout),
    )


def _number(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ConfigError(f"the DSN's {name} is not a whole number from 0 to 999999999")
    return int(text)


def _one_of(parameters: Mapping[str, str], name: str, allowed: frozenset[str]) -> None:
    value = parameters.get(name)
    if value is not None and value not in allowed:
        raise ConfigError(
            f"the DSN's {name} is {value!r}",
            "the coordinator writes, so it needs the primary"
            if name == "target_session_attrs"
            else None,
            f"Write one of: {', '.join(sorted(allowed))}.",
        )
