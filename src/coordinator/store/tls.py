"""What protects a connection to a host: what the DSN says, and where it is silent, TLS in full.

On the way to another machine somebody may stand who reads, or who answers in the server's place. So
a host that is not plainly this machine gets `verify-full`, unless the DSN names an `sslmode`. The
roots of trust are `sslrootcert`, else `~/.postgresql/root.crt`, else the system's.
"""

import ssl
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlencode

from coordinator.core.errors import ConfigError
from coordinator.core.hidden import Hidden

_FULL = "verify-full"
_SYSTEM = "system"
# These go with the system's roots; a certificate of one's own is passed with a file of roots.
_WITH_SYSTEM_ROOTS = frozenset({"sslmode", "sslrootcert", "sslnegotiation", "krbsrvname", "gsslib"})
_FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})

_OTHER_NAME = frozenset({62, 64})
_UNKNOWN_SIGNER = frozenset({18, 19, 20, 21, 26, 27})
_EXPIRED = 10
"""OpenSSL's X509_V_ERR numbers."""
_UNCHECKED = (
    "To go without the check, write sslmode=require in the DSN: encrypted, to whoever answers."
)


def is_local(host: str | None) -> bool:
    """Whether a host is plainly this machine: a socket's path, localhost, a loopback address.

    None is the driver's choice: the usual sockets, but also PGHOST, which may lead anywhere.
    """
    if host is None:
        return False
    if host.startswith("/") or host.casefold() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def sslmode(host: str | None, security: Mapping[str, str]) -> str | None:
    """Return the mode that holds for a host; None is the driver's own, which only prefers TLS."""
    if (host or "").startswith("/"):
        # As with libpq, there is no TLS on a unix socket, whatever PGSSLMODE says.
        return "disable"
    named = security.get("sslmode") or (_FULL if security.get("sslrootcert") == _SYSTEM else None)
    return named or (None if is_local(host) else _FULL)


def arguments(host: str | None, security: Mapping[str, str]) -> dict[str, object]:
    """Return what asyncpg takes for it; it reads certificates only from a DSN."""
    mode = sslmode(host, security)
    if mode == "disable":
        return {"dsn": None, "ssl": False}
    _check_files(security)
    given = {**security} if mode is None else {**security, "sslmode": mode}
    if mode != _FULL:
        return {"dsn": _dsn(given), "ssl": None}
    root = security.get("sslrootcert") or _users_roots()
    if root is None and not security.keys() <= _WITH_SYSTEM_ROOTS:
        raise ConfigError(
            "a certificate of one's own needs sslrootcert beside it",
            "the DSN names one, and neither sslrootcert nor ~/.postgresql/root.crt says whom to"
            " trust",
            "Name the file of the CA that signed the server's certificate as sslrootcert.",
        )
    if root in (None, _SYSTEM):
        given = {name: given[name] for name in given.keys() - {"sslmode", "sslrootcert"}}
        return {"dsn": _dsn(given), "ssl": True}
    return {"dsn": _dsn({**given, "sslrootcert": root}), "ssl": None}


def trouble(error: BaseException | None, place: str, *, mode: str | None) -> ConfigError | None:
    """Say what stands in the way of TLS, and what to do; None if it is something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, place)
    if isinstance(error, ssl.SSLError) and (error.library == "X509" or "PEM lib" in str(error)):
        return ConfigError(
            "a certificate or key that the DSN names is of no use",
            "it is not in PEM form, or sslpassword does not open sslkey",
            "Check sslrootcert, sslcert, sslkey and sslpassword.",
        )
    # Not one of its subclasses: asyncpg says so when the server answers that it knows no TLS.
    if type(error) is ConnectionError and "SSL" in str(error):
        return ConfigError(
            f"the server at {place} offers no TLS",
            f"sslmode is {mode}, as for every other machine where the DSN names none",
            "Turn TLS on there (ssl = on), or, where nobody else is on the way, write"
            " sslmode=disable in the DSN.",
        )
    return None


def _check_files(security: Mapping[str, str]) -> None:
    """Raise ConfigError for a file that is not there: to the driver it looks like a lost server."""
    for name in _FILES & security.keys():
        if security[name] != _SYSTEM:
            try:
                Path(security[name]).open("rb").close()
            except OSError as error:
                raise ConfigError(
                    f"the DSN's {name} {security[name]} cannot be read", error.strerror
                ) from None


def _untrusted(error: ssl.SSLCertVerificationError, place: str) -> ConfigError:
    why = error.verify_message
    if error.verify_code in _OTHER_NAME:
        what = f"the certificate of the server at {place} is for another name"
        fix = "Write the host as its certificate names it, or have one made for this name."
    elif error.verify_code in _UNKNOWN_SIGNER:
        what = f"the certificate of the server at {place} is signed by nobody we trust"
        fix = "Name the file of the CA that signed it: sslrootcert=/path/to/ca.crt in the DSN."
    elif error.verify_code == _EXPIRED:
        what = f"the certificate of the server at {place} has expired"
        fix = "Renew it on the server; if it is new, set this machine's clock."
    else:
        what = f"the certificate of the server at {place} does not pass"
        fix = "Have a certificate made that does."
    return ConfigError(what, why, f"{fix} {_UNCHECKED}")


def _users_roots() -> str | None:
    try:
        file = Path.home() / ".postgresql" / "root.crt"
    except RuntimeError:  # nobody knows where home is
        return None
    return str(file) if file.is_file() else None


def _dsn(security: Mapping[str, str]) -> Hidden | None:
    return Hidden(f"postgresql://?{urlencode(security)}") if security else None
