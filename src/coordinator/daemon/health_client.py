"""Asking a daemon how it is: the other end of the health socket, for the command line."""

from datetime import timedelta
from typing import ClassVar

import anyio
import h11
from anyio.abc import ByteStream

from coordinator.core.errors import CoordinatorError, ExitCode
from coordinator.daemon.addresses import Address, TcpAddress

_MOST_BYTES = 16 * 1024 * 1024


class HealthUnreachable(CoordinatorError):
    """No daemon answers at this address; the operator must start one or name another address."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE


async def fetch_health(address: Address, path: str, *, within: timedelta) -> tuple[int, bytes]:
    """GET `path` from the daemon at `address`; return the HTTP status and the body.

    `within` bounds everything. Raises HealthUnreachable if no whole answer comes within it.
    """
    try:
        with anyio.fail_after(within.total_seconds()):
            async with await _connect(address) as stream:
                return await _get(stream, path)
    except TimeoutError as error:
        raise _unreachable(address, f"No answer came within {within}") from error
    except h11.ProtocolError as error:
        raise _unreachable(address, f"What answers does not speak HTTP: {error}") from error
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        raise _unreachable(address, str(error.__cause__ or error)) from error


async def _connect(address: Address) -> ByteStream:
    if isinstance(address, TcpAddress):
        return await anyio.connect_tcp(address.host, address.port)
    return await anyio.connect_unix(address.path)


async def _get(stream: ByteStream, path: str) -> tuple[int, bytes]:
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", "coordinator"), ("Connection", "close")]
    request = h11.Request(method="GET", target=path, headers=headers)
    await stream.send((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    status, body = 0, bytearray()
    while len(body) <= _MOST_BYTES:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await _receive(stream))
            case h11.Response(status_code=code):
                status = code
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage():
                return status, bytes(body)
            case _:
                raise h11.RemoteProtocolError("the connection ended before an answer")
    raise h11.RemoteProtocolError(f"the answer is longer than {_MOST_BYTES} bytes")


async def _receive(stream: ByteStream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        return b""  # how h11 is told that the other side has closed


def _unreachable(address: Address, why: str) -> HealthUnreachable:
    return HealthUnreachable(
        f"no daemon answers at {address}",
        why,
        "Start it with `coordinator run`, or give the address it listens on",
    )
