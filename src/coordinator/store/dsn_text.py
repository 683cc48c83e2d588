"""The two ways to write a DSN, read into named parameters; what they mean is decided in `dsn`."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from coordinator.core.errors import ConfigError

ENCODE = "Write special characters in it percent-encoded: @ %40, : %3A, / %2F, ? %3F, # %23, [ %5B."
_SCHEME = re.compile(r"\s*[A-Za-z][\w+.-]*:")
_KEY_VALUE = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)")


def parameters_of(dsn: str) -> dict[str, str]:
    """Return libpq's parameters by name; hosts and ports are lists with commas.

    Raise ConfigError, without quoting the text, if it is written in neither way.
    """
    return _from_uri(dsn) if _SCHEME.match(dsn) else _from_words(dsn)


def _from_uri(dsn: str) -> dict[str, str]:
    scheme, _, rest = dsn.strip().partition("://")
    if scheme not in {"postgresql", "postgres"}:
        raise ConfigError(
            "the DSN does not begin with postgresql://",
            "an address of another kind stands there",
            "On Supabase, copy the connection string from Connect, not the project's URL.",
        )
    # Not urlsplit: newer ones take no list of hosts with an IPv6 address in it.
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    user_info, at, host_list = authority.rpartition("@")
    if "#" in rest or "@" in database or (not at and "@" in query):
        raise ConfigError("the DSN breaks off within its user name or password", fix=ENCODE)
    user, _, password = user_info.partition(":")
    hosts = list(map(_host_and_port, host_list.split(","))) if host_list else []
    given = {
        "user": unquote(user),
        "password": unquote(password),
        "host": ",".join(unquote(host) for host, _ in hosts),
        "port": ",".join(port for _, port in hosts) if any(port for _, port in hosts) else "",
        "dbname": unquote(database),
    }
    given = {name: value for name, value in given.items() if value}
    return given | dict(_query(query))


def _query(query: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError("a parameter of the DSN has no value", fix=ENCODE)
        name = unquote(name)
        yield ("dbname" if name == "database" else name), unquote(value)


def _host_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, closed, port = place[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise ConfigError("the DSN's host is not readable", fix=ENCODE)
        return host, port.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def _from_words(dsn: str) -> dict[str, str]:
    given: dict[str, str] = {}
    position = 0
    while position < len(dsn.rstrip()):
        found = _KEY_VALUE.match(dsn, position)
        if found is None:
            raise ConfigError(
                "the DSN is neither a postgresql:// address nor a row of key=value words",
                fix="Write postgresql://user:password@host:5432/database.",
            )
        name, quoted, bare = found.groups()
        given[name] = re.sub(r"\\(.)", r"\1", quoted if quoted is not None else bare)
        position = found.end()
    return given
