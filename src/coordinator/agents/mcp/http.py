"""The way in over HTTP: streamable HTTP on one address, for whoever knows the token.

The token is checked before anything else is read. Host and Origin are checked against the names
that clients may use, so that a web page cannot reach the server through its reader's browser.
"""

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any

import anyio
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.core.errors import ConfigError
from coordinator.core.hidden import Hidden

PATH = "/mcp"
SHORTEST_TOKEN = 16
_BACKLOG = 128
_CONNECTIONS = 256
_GRACE_S = 1


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where to listen, and for whom."""

    host: str
    port: int
    token: str = field(repr=False)
    expose: bool = False
    """Whether other machines may reach it."""
    allowed_hosts: Sequence[str] = ()
    """Further names, with or without a port, by which clients may call it."""


def parse_address(text: str) -> tuple[str, int]:
    """Read `127.0.0.1:8790` or `[::1]:8790`; raise ConfigError for anything else."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    fits = colon and bare and port.isascii() and port.isdigit() and int(port) <= 65535
    if not fits or (":" in bare and bare == host):
        raise ConfigError(
            f"the address {text!r} cannot be read",
            "it has no host, or no port from 0 to 65535",
            "Write --http 127.0.0.1:8790, or --http [::1]:8790.",
        )
    return bare, int(port)


def check(options: HttpOptions) -> None:
    """Raise ConfigError for a token that can be guessed, and for an address that others reach."""
    if len(options.token) < SHORTEST_TOKEN or not options.token.isascii():
        raise ConfigError(
            "the token is of no use",
            f"it has fewer than {SHORTEST_TOKEN} characters, or others than ASCII",
            "Make one with: openssl rand -hex 32",
        )
    if not options.expose and not _is_loopback(options.host):
        raise ConfigError(
            f"other machines would reach {options.host}",
            "the server speaks no TLS, and whoever has its token acts as the agent",
            "Listen on 127.0.0.1, or say --expose and put a proxy with TLS in front.",
        )


@asynccontextmanager
async def listening(options: HttpOptions) -> AsyncIterator[tuple[socket.socket, str]]:
    """Listen; yield the socket and the URL. Raises ConfigError where that is not possible."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        sock = socket.create_server((options.host, options.port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(
            f"the MCP server cannot listen on {options.host}:{options.port}",
            why,
            "Stop the program that uses it, or name another port; 0 takes any that is free.",
        ) from None
    with sock:
        sock.setblocking(False)
        yield sock, f"http://{_in_url(options.host)}:{sock.getsockname()[1]}{PATH}"


async def serve_http(server: Server[Any], options: HttpOptions, sock: socket.socket) -> None:
    """Serve on the socket until cancelled."""
    port = sock.getsockname()[1]
    app = server.streamable_http_app(
        streamable_http_path=PATH, transport_security=_names(options, port)
    )
    web = _Web(
        uvicorn.Config(
            _only_with(options.token, app),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_S,
            lifespan="on",
        )
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_when_cancelled, web)
        with anyio.CancelScope(shield=True):
            await web.serve(sockets=[sock])
        tasks.cancel_scope.cancel()


class _Web(uvicorn.Server):
    """A server that leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Any:
        """Capture none."""
        with nullcontext():
            yield


async def _stop_when_cancelled(web: uvicorn.Server) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        # Clients that still wait are cut off, which it would tell of with a traceback for each.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        web.should_exit = True


def _only_with(token: str, app: ASGIApp) -> ASGIApp:
    """Let nobody in without the token."""
    wanted = Hidden(f"Bearer {token}").encode()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if scope["type"] == "http" and len(given) == 1 and compare_digest(given[0], wanted):
            await app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "the token is missing or wrong\n", 401, {"WWW-Authenticate": "Bearer"}
        )
        await refusal(scope, receive, send)

    return guarded


def _names(options: HttpOptions, port: int) -> TransportSecuritySettings:
    hosts = [f"{_in_url(options.host)}:{port}"]
    if _is_loopback(options.host):
        hosts += [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]
    for name in options.allowed_hosts:
        hosts += [name, f"{name}:{port}"]
    origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
