"""Whatever clients do to a real daemon's health socket: it lives, answers others, and works."""

import itertools
import re
import socket
import statistics
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import anyio
import pytest
import pytest_asyncio
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.daemon.addresses import Address, TcpAddress, UnixAddress
from coordinator.daemon.health_client import fetch_health
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import Life, World
from tests.support.postgres import Cluster, Database
from tests.support.processes import RunningProcess
from tests.support.sockets import descriptors, memory
from tests.support.waiting import eventually

DOCUMENTED = {200, 400, 404, 405, 431, 501, 503}
"""The status codes that docs/security.md names."""
SOON = timedelta(seconds=3)
SIEGE_S = 1.5
USUALLY_WITHIN_S = 1.0
ALWAYS_WITHIN_S = 10.0
"""Honest clients are answered within half a second, and where they queue behind the 520 of a siege,
within two: 64 give way each quarter of a second. The attackers share this machine, so five times
that. If slow clients did not lose their places, it would be 40 s, since a request may take five."""
MOST_MIB = 24
"""By so much may the daemon grow under attack."""


@dataclass(frozen=True, slots=True)
class Target:
    """A leader with both kinds of health socket."""

    process: RunningProcess
    database: Database
    tcp: TcpAddress
    unix: UnixAddress

    @property
    def addresses(self) -> list[Address]:
        return [self.tcp, self.unix]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def target(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    path = tmp_path_factory.mktemp("hostile") / "health"
    async with (
        cluster.database() as database,
        leader(database, health_tcp="127.0.0.1:0", health_socket=str(path)) as process,
    ):
        [tcp] = [
            line["address"] for line in process.logged("health.listening") if ":" in line["address"]
        ]
        host, _, port = tcp.rpartition(":")
        yield Target(process, database, TcpAddress(host, int(port)), UnixAddress(path))


@pytest.fixture
async def world(target: Target) -> AsyncIterator[World]:
    async with World.on(target.database) as world:
        yield world


@pytest.fixture(autouse=True)
def unharmed(target: Target) -> Iterator[None]:
    """Afterwards the process lives and has not complained."""
    yield
    assert target.process.process.poll() is None
    assert target.process.stderr == ""
    assert [
        line["message"] + line.get("exception.stacktrace", "")
        for line in target.process.logged("log.relayed")
    ] == []
    assert not target.process.logged("pass.failed")


# --- what can be said -----------------------------------------------------------------------------

words = st.text("abcXYZ019-_./:?&=%~ ", min_size=1, max_size=20).map(str.encode)
odd = st.binary(max_size=12) | words
ends = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\r\n", b" \r\n", b"\0\r\n", b""])
methods = st.sampled_from(
    [b"GET"] * 6
    + [b"HEAD", b"POST", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get", b"G\0T", b""]
)
targets = st.sampled_from(
    [b"/livez", b"/readyz?verbose", b"/metrics", b"/status", b"/startupz", b"*", b"", b"//",
     b"http://elsewhere/livez", b"https://[::1/livez", b"/../../etc/passwd", b"/%00", b"/livez#x",
     b"/" + b"a" * 9000, b"/livez?" + b"&" * 4000, b"/\xff\xfe", b"elsewhere:443"]
)  # fmt: skip
versions = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.1 x", b"http/1.1", b""]
)
known_headers = st.sampled_from(
    [b"Host: a", b"Host: a", b"Host: a", b"Host: b", b"Host:", b"Host : a", b"Content-Length: 5",
     b"Content-Length: 6", b"Content-Length: -1", b"Content-Length: 99999999999999999999",
     b"Content-Length: 5, 5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
     b"Transfer-Encoding: identity", b"Expect: 100-continue", b"Upgrade: h2c", b"Connection: close",
     b"Connection: keep-alive, Upgrade", b" folded: line", b"X: " + b"x" * 9000, b": nameless"]
)  # fmt: skip
headers = st.lists(
    known_headers | st.tuples(odd, st.sampled_from([b":", b": ", b" :", b""]), odd).map(b"".join),
    max_size=12,
)
bodies = st.sampled_from(
    [b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n\r\n",
     b"5;" + b"x" * 20_000, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 50, b"\0" * 100_000]
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Something like an HTTP request, with anything wrong about it."""
    end = partial(draw, ends)
    head = b" ".join([draw(methods), draw(targets), draw(versions)]) + end()
    lines = b"".join(
        line + end() for line in [b"Host: a", *draw(headers)][draw(st.integers(0, 1)) :]
    )
    return head + lines * draw(st.sampled_from([1, 1, 1, 1, 300])) + end() + draw(bodies)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("said", [st.binary(max_size=3000), requests()], ids=["bytes", "requests"])
async def test_whatever_is_said_is_answered_by_a_documented_status_or_not_at_all(
    target: Target, kind: str, said: st.SearchStrategy[bytes]
) -> None:
    address = target.tcp if kind == "tcp" else target.unix

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(said)
    def fuzz(data: bytes) -> None:
        check_answer(exchange(address, data))

    await to_thread.run_sync(fuzz)

    assert (await fetch_health(address, "/livez", within=SOON))[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.1\nHost: a\n\n", 200),
        (b"GET http://a/livez HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /livez HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"TRACE /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405),
    ],
    ids=["bare LF", "absolute URI", "two hosts", "two lengths", "gzip", "NUL", "5000 headers",
         "long target", "method", "trace", "http 2"],
)  # fmt: skip
async def test_each_oddity_has_its_status(target: Target, request_: bytes, status: int) -> None:
    for address in target.addresses:
        answer = await to_thread.run_sync(exchange, address, request_)

        assert check_answer(answer) == status


async def test_of_pipelined_requests_the_first_is_answered(target: Target) -> None:
    twice = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /status HTTP/1.1\r\nHost: a\r\n\r\n"

    answer = await to_thread.run_sync(exchange, target.tcp, twice)

    assert check_answer(answer) == 200
    assert answer.endswith(b"\r\n\r\nok\n")


# --- sieges ---------------------------------------------------------------------------------------

Attack = Callable[[Address], Iterator[None]]


def idle(address: Address) -> Iterator[None]:
    """Three hundred connections that say nothing, each renewed when it is dropped."""
    with ExitStack() as kept:
        clients = [_open(address, kept) for _ in range(300)]
        for at in itertools.cycle(range(len(clients))):
            if clients[at] is None or _was_dropped(clients[at]):
                clients[at] = _open(address, kept)
            yield


def dripping(address: Address) -> Iterator[None]:
    """A hundred requests, one byte at a time."""
    with ExitStack() as kept:
        clients = [_open(address, kept) for _ in range(100)]
        for number in itertools.count():
            at = number % len(clients)
            client = clients[at]
            try:
                if client is None:
                    raise ConnectionError
                client.send(b"GET /livez HTTP/1.1\r\nX: "[number // 100 % 24 :][:1])
            except (OSError, ConnectionError):
                clients[at] = _open(address, kept)
            yield


def never_reading(address: Address) -> Iterator[None]:
    """Requests for the longest answer, which nobody reads."""
    with ExitStack() as kept:
        clients: list[socket.socket | None] = [None] * 100
        for at in itertools.cycle(range(len(clients))):
            if (client := clients[at]) is None or _was_dropped(client):
                client = clients[at] = _open(address, kept, receive_buffer=1)
            with suppress(OSError):
                if client is not None:
                    client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            yield


def half_closing(address: Address) -> Iterator[None]:
    """Connections that say half a request and shut down their side."""
    while True:
        with ExitStack() as kept, suppress(OSError):
            if client := _open(address, kept):
                client.send(b"GET /li")
                client.shutdown(socket.SHUT_WR)
                yield
        yield


def resetting(address: Address) -> Iterator[None]:
    """Connections that are reset with a request under way."""
    while True:
        with ExitStack() as kept, suppress(OSError):
            if client := _open(address, kept):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        yield


def pouring(address: Address) -> Iterator[None]:
    """Requests with bodies without end."""
    with ExitStack() as kept:
        clients: list[socket.socket | None] = [None] * 20
        for at in itertools.cycle(range(len(clients))):
            try:
                if (client := clients[at]) is None:
                    client = clients[at] = _open(address, kept)
                    if client is not None:
                        client.send(
                            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n"
                        )
                elif client is not None:
                    client.send(b"x" * 65536)
            except BlockingIOError:
                pass
            except OSError:
                clients[at] = None
            yield


def asking(address: Address) -> Iterator[None]:
    """Good requests for the dearest answer, as fast as one client can send them."""
    while True:
        with suppress(OSError):
            exchange(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        yield


ATTACKS: Mapping[str, Attack] = {
    attack.__name__.replace("_", " "): attack
    for attack in (idle, dripping, never_reading, half_closing, resetting, pouring, asking)
}


@pytest.mark.parametrize(
    "attacks",
    [pytest.param(tuple(ATTACKS.values()), id="all at once")]
    + [pytest.param((each,), id=name, marks=pytest.mark.slow) for name, each in ATTACKS.items()],
)
async def test_under_siege_others_are_answered_and_work_goes_on(
    target: Target, world: World, attacks: tuple[Attack, ...]
) -> None:
    ada = await world.agent("ada")
    await fetch_health(target.tcp, "/metrics", within=SOON)  # whatever is made at first use
    grown, opened = memory(target.process.pid), descriptors(target.process.pid)
    async with anyio.create_task_group() as siege:
        stop = Stop()
        for attack, address in itertools.product(attacks, target.addresses):
            siege.start_soon(to_thread.run_sync, _attack, attack, address, stop)
        try:
            answered = await probe_and_work(target, world, ada)
            during = descriptors(target.process.pid)
        finally:
            stop.asked = True

    assert statistics.median(answered) < USUALLY_WITHIN_S
    assert max(answered) < ALWAYS_WITHIN_S
    assert memory(target.process.pid) - grown < MOST_MIB
    assert during <= opened + 2 * 65
    await eventually(lambda: are_open(target, opened))


# --- acts and looks -------------------------------------------------------------------------------


@dataclass(slots=True)
class Stop:
    """How the attackers learn that it is over."""

    asked: bool = False


def _attack(attack: Attack, address: Address, stop: Stop) -> None:
    acts = attack(address)
    while not stop.asked:
        next(acts)
        time.sleep(0.002)  # the attackers share the machine with the attacked
    acts.close()  # type: ignore[attr-defined]


def exchange(address: Address, data: bytes) -> bytes:
    """Say something, close our side, and return all that comes back."""
    with _connected(address, timeout=10) as client:
        answer = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while some := client.recv(65536):
                answer += some
        return answer


def check_answer(answer: bytes) -> int | None:
    """Return the status of the one answer; None if there is none."""
    if not answer:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.1 (\d{3}) [A-Z][A-Za-z ]+\r\n", head)
    assert found, answer[:200]
    assert int(found[1]) in DOCUMENTED
    length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
    assert length
    assert len(body) in (0, int(length[1]))
    assert b"Traceback" not in body
    return int(found[1])


async def probe(address: Address) -> None:
    """Ask as a service manager does."""
    assert (await fetch_health(address, "/livez", within=timedelta(seconds=30)))[0] == 200


async def probe_and_work(target: Target, world: World, ada: Life) -> list[float]:
    """Ask and hand off while the siege lasts; return how long the answers took, in seconds."""
    answered = []
    end = time.monotonic() + SIEGE_S
    while time.monotonic() < end:
        for address in target.addresses:
            began = time.monotonic()
            await probe(address)
            answered.append(time.monotonic() - began)
        handoff_id = await world.handoff("ada")
        line = await target.process.seen("handoff.dispatched", handoff_id=str(handoff_id))
        assert line["waited_s"] < ALWAYS_WITHIN_S
        await world.complete(handoff_id, line["attempt"], ada)
    return answered


async def are_open(target: Target, count: int) -> bool:
    """Whether no more descriptors are open than before, give or take a connection of its own."""
    return descriptors(target.process.pid) <= count + 2


@contextmanager
def _connected(address: Address, *, timeout: float) -> Iterator[socket.socket]:
    family = socket.AF_INET if isinstance(address, TcpAddress) else socket.AF_UNIX
    with socket.socket(family) as client:
        client.settimeout(timeout)
        client.connect(
            (address.host, address.port) if isinstance(address, TcpAddress) else str(address.path)
        )
        yield client


def _open(
    address: Address, kept: ExitStack, *, receive_buffer: int | None = None
) -> socket.socket | None:
    """Connect, without waiting; None where there is no room."""
    family = socket.AF_INET if isinstance(address, TcpAddress) else socket.AF_UNIX
    client = kept.enter_context(socket.socket(family))
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(0.05)
    try:
        client.connect(
            (address.host, address.port) if isinstance(address, TcpAddress) else str(address.path)
        )
    except OSError:
        client.close()
        return None
    client.setblocking(False)
    return client


def _was_dropped(client: socket.socket | None) -> bool:
    if client is None:
        return True
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
