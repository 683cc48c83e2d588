"""Where the health socket is: reading an address, opening it, and giving it back."""

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import cast

import anyio
from anyio.abc import SocketAttribute, SocketListener

from coordinator.core.errors import ConfigError

_SOCKET_MODE = 0o660  # the daemon's user and group
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, by name or number, and a port from 0 to 65535; 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        """As the operator writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a unix socket."""

    path: Path

    def __str__(self) -> str:
        """As the operator writes it."""
        return str(self.path)


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address | None:
    """Read `host:port`, `[::1]:8787`, an absolute path (`unix:` before it is allowed), or `off`.

    None means off. Raises ConfigError for anything else.
    """
    if text == "off":
        return None
    if text.startswith(("/", "unix:/")):
        return UnixAddress(Path(text.removeprefix("unix:")))
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise _not_an_address(text, "it has no host, or no port from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return TcpAddress(_ipv6(text, host[1:-1]), int(port))
    if ":" in host:
        raise _not_an_address(text, "an IPv6 address needs brackets before the port")
    return TcpAddress(host, int(port))


@asynccontextmanager
async def listening(address: Address) -> AsyncIterator[Sequence[SocketListener]]:
    """Listen on `address` for the length of the block: one listener for each number of the host.

    Raises ConfigError if the address is taken, unknown or not allowed.
    """
    try:
        match address:
            case TcpAddress():
                listeners = await _listen_tcp(address)
            case UnixAddress():
                listeners = [await SocketListener.from_socket(_bind_unix(address.path))]
    except (OSError, UnicodeError) as error:  # a host that no name can have is a UnicodeError
        raise _cannot_listen(address, error) from error
    identity = _identity(address)
    try:
        yield listeners
    finally:
        # First, since closing awaits; and only ours: a successor may have taken the path over.
        if isinstance(address, UnixAddress) and _identity(address) == identity:
            address.path.unlink(missing_ok=True)
        with anyio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()


def bound_address(listener: SocketListener) -> Address:
    """Where `listener` really listens, its port chosen."""
    local = listener.extra(SocketAttribute.local_address)  # noqa: S610 - this is not Django's
    return UnixAddress(Path(local)) if isinstance(local, str) else TcpAddress(local[0], local[1])


async def _listen_tcp(address: TcpAddress) -> Sequence[SocketListener]:
    multi = await anyio.create_tcp_listener(
        local_host=address.host, local_port=address.port, backlog=_BACKLOG
    )
    return cast(Sequence[SocketListener], multi.listeners)


def _bind_unix(path: Path) -> socket.socket:
    try:
        return _bind_unix_once(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _left_behind(path):
            raise
        path.unlink(missing_ok=True)
        return _bind_unix_once(path)


def _bind_unix_once(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Not chmod afterwards: by then somebody else may have put something of ours in its place.
        umask = os.umask(0o777 & ~_SOCKET_MODE)
        try:
            sock.bind(str(path))
        finally:
            os.umask(umask)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _left_behind(path: Path) -> bool:
    """Whether `path` is a socket on which nobody listens any more."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def _identity(address: Address) -> tuple[int, int] | None:
    if isinstance(address, UnixAddress):
        with suppress(OSError):
            status = address.path.lstat()
            return status.st_dev, status.st_ino
    return None


def _ipv6(text: str, host: str) -> str:
    try:
        return str(IPv6Address(host))
    except AddressValueError as error:
        raise _not_an_address(text, "no IPv6 address is between the brackets") from error


def _not_an_address(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"the health address {text!r} cannot be read",
        why,
        "Write 127.0.0.1:8787, [::1]:8787, the absolute path of a unix socket, or off",
    )


def _cannot_listen(address: Address, error: OSError | UnicodeError) -> ConfigError:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigError(
        f"the health socket cannot listen on {address}", why, _way_out(address, error)
    )


def _way_out(address: Address, error: OSError | UnicodeError) -> str:
    taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    match address, taken:
        case TcpAddress(), True:
            return "Stop the program that uses it, or set health_tcp to another port or to off"
        case TcpAddress(), _:
            return "Set health_tcp to an address of this machine and a port it may use, or to off"
        case _, True:
            return "Stop the daemon that listens there, or set health_socket to another path"
        case _:
            return "Set health_socket to a path of at most 107 bytes in a folder that it may write"
