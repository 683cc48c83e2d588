"""One POST: to an address that was checked, over TLS that proves the host, bounded in everything.

The name is resolved here for every request, and the connection goes to the very address that was
checked: between the check and the call nobody can put another one in its place. Nothing is kept
open, no redirect is followed, and no proxy is asked, whatever the environment names.
"""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import anyio
import httpcore2

from coordinator.agents.webhook.addresses import Address, Reach, parse, plain
from coordinator.agents.webhook.target import Target
from coordinator.core.errors import ConfigError

MOST_BYTES = 1024 * 1024
"""Of an answer that may settle a handoff; of others nothing is read."""
_USUAL = (("Connection", "close"), ("Accept-Encoding", "identity"))
_MOST_ADDRESSES = 4
_SHORT_PATIENCE_S = 2
"""With an address that is not the last one of its name."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `answer` is the body of a 200 with JSON, if that was wanted."""

    status: int
    headers: Mapping[str, str]
    answer: bytes | None = None
    is_cut: bool = False
    """The body was larger than MOST_BYTES."""


class Unreached(Exception):
    """No reply came; `lasting` where trying again will not help until somebody mends something."""

    def __init__(self, why: str, *, lasting: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.lasting = lasting


class Wire:
    """The way to one target."""

    def __init__(self, target: Target, reach: Reach, *, ca_file: Path | None = None) -> None:
        self._url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        # Without a file the library finds the system's authorities, wherever they are.
        self._trust = None if ca_file is None else _trust(ca_file)
        self._encrypted = target.encrypted
        self._reach = reach

    async def post(
        self, headers: Mapping[str, str], body: bytes, *, within: timedelta, wants_answer: bool
    ) -> Reply:
        """Send this and return the reply; raise Unreached."""
        try:
            with anyio.fail_after(within.total_seconds()):
                return await self._post(headers, body, wants_answer=wants_answer)
        except (TimeoutError, httpcore2.TimeoutException):
            raise Unreached(f"no answer within {within.total_seconds():g} s") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise _unreached(error) from None

    async def _post(self, headers: Mapping[str, str], body: bytes, *, wants_answer: bool) -> Reply:
        given = [*_USUAL, *headers.items()]
        async with (
            _CheckedNetwork.opened(self._reach, encrypted=self._encrypted) as network,
            httpcore2.AsyncConnectionPool(self._trust, network_backend=network) as pool,
            pool.stream("POST", self._url, headers=given, content=body) as response,
        ):
            told = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            if not (wants_answer and response.status == 200 and _is_json(told)):
                return Reply(response.status, told)
            read = bytearray()
            async for piece in response.aiter_stream():
                read += piece
                if len(read) > MOST_BYTES:
                    return Reply(response.status, told, is_cut=True)
            return Reply(response.status, told, bytes(read))


class _CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to addresses within reach alone."""

    def __init__(self, reach: Reach, *, encrypted: bool) -> None:
        self._reach = reach
        self._encrypted = encrypted
        self._network = httpcore2.AnyIOBackend()
        self._streams: list[httpcore2.AsyncNetworkStream] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, reach: Reach, *, encrypted: bool) -> AsyncIterator[Self]:
        """Close at the end what was opened: the library forgets a cancelled handshake."""
        network = cls(reach, encrypted=encrypted)
        try:
            yield network
        finally:
            with anyio.CancelScope(shield=True):
                for stream in network._streams:
                    await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of this host that may be reached and answers."""
        last: Exception | None = None
        addresses = self._within_reach(await _addresses(host, port))
        for nth, address in enumerate(addresses, start=1):
            patience = timeout if nth == len(addresses) else _SHORT_PATIENCE_S
            try:
                stream = await self._network.connect_tcp(
                    str(address), port, patience, local_address, socket_options
                )
                self._streams.append(stream)
                return stream
            except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
                last = error
        raise last or Unreached("its name has no address")

    def _within_reach(self, addresses: list[Address]) -> list[Address]:
        objections = {
            address: self._reach.objection(address, encrypted=self._encrypted)
            for address in addresses
        }
        fit = [plain(address) for address, objection in objections.items() if not objection]
        if addresses and not fit:
            address, objection = next(iter(objections.items()))
            raise Unreached(f"the address {address} is refused: {objection}", lasting=True)
        return fit[:_MOST_ADDRESSES]


async def _addresses(host: str, port: int) -> list[Address]:
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise Unreached(f"its name cannot be resolved: {why}") from None
    return list(dict.fromkeys(parse(str(entry[4][0])) for entry in found))


def _trust(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise ConfigError(
            f"the certificates in {ca_file} cannot be read", why, "Check --ca-file."
        ) from None


def _is_json(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _unreached(error: Exception) -> Unreached:
    cause = _first_cause(error)
    match cause:
        case ssl.SSLCertVerificationError():
            return Unreached(
                f"its certificate proves nothing: {cause.verify_message}", lasting=True
            )
        case ssl.SSLError():
            return Unreached(f"TLS failed: {cause.reason or 'unknown reason'}")
        case OSError(errno=int(number)):
            return Unreached(f"no connection: {os.strerror(number)}")
    if isinstance(error, httpcore2.ProtocolError) and cause is not error:
        return Unreached("what it answers is not HTTP")
    return Unreached("the connection was lost")


def _first_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
