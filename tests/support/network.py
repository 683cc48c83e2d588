"""Hosts of our own on one machine, on a wire that a test can cut, slow down and make forgetful.

A host is a network namespace, so the kernel's own TCP stands at both ends. The wire between them is
ours: a TUN device in each namespace, and a thread that carries the packets. It loses, delays and
forgets as it is told; the packet schedulers that could are not in every kernel. The namespaces have
no names: they end with their last process and descriptor, however the test ends. Needs root.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, Self

_TUN: Final = Path("/dev/net/tun")
AVAILABLE: Final = os.geteuid() == 0 and _TUN.exists()
"""Whether this process may build a network."""

_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_SUBNET: Final = IPv4Network("10.77.0.0/24")
_TCP: Final = 6
_AT_ONCE: Final = 64
"""Packets taken from one host before the next one's turn."""

Flow = tuple[bytes, bytes]
"""A TCP connection: address and port of its two ends, in the order of bytes."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to packets on one host's wire, in one direction."""

    loss: float = 0.0
    """How many of them vanish: 0 none, 1 all."""
    delay_s: float = 0.0
    jitter_s: float = 0.0
    """How much longer or shorter than the delay; packets keep their order all the same."""
    forgotten: frozenset[Flow] = frozenset()
    """Connections whose packets vanish, as behind a firewall that lost its table."""


FINE: Final = Weather()
SILENT: Final = Weather(loss=1.0)


class Host:
    """One machine of the network: an address, and commands that run there."""

    def __init__(self, network: "Network", address: IPv4Address, namespace: int, wire: int) -> None:
        self.address = str(address)
        self.sends = FINE
        """The weather for what leaves it."""
        self.hears = FINE
        """The weather for what comes to it."""
        self._network = network
        self._namespace = namespace
        self.wire = wire

    def inside(self, *command: str | Path) -> list[str]:
        """The command line that runs a command on this host."""
        namespace = f"/proc/{os.getpid()}/fd/{self._namespace}"
        return ["nsenter", f"--net={namespace}", *map(str, command)]

    def run(self, *command: str) -> str:
        """Run a short command on this host; return what it printed."""
        done = subprocess.run(self.inside(*command), check=True, capture_output=True, text=True)
        return done.stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be on this host with the calling thread, so that its sockets and children are there."""
        with _opened("/proc/thread-self/ns/net") as home:
            _call_libc("setns", self._namespace, _CLONE_NEWNET)
            try:
                yield
            finally:
                _call_libc("setns", home, _CLONE_NEWNET)

    @contextmanager
    def under(self, *, sends: Weather = FINE, hears: Weather = FINE) -> Iterator[None]:
        """Let this weather reign over its wire for the length of the block."""
        before = self.sends, self.hears
        self.sends, self.hears = sends, hears
        try:
            yield
        finally:
            self.sends, self.hears = before

    def forget(self, *ports: int) -> frozenset[Flow]:
        """Let nothing pass any more over its connections of now, or those from these ports alone.

        Neither end is told, and new connections pass. Returns what was forgotten.
        """
        ends = {self._end(port) for port in ports}
        mine = IPv4Address(self.address).packed
        flows = frozenset(
            flow
            for flow in self._network.flows()
            if (not ends.isdisjoint(flow) if ends else any(end[:4] == mine for end in flow))
        )
        self.sends = replace(self.sends, forgotten=self.sends.forgotten | flows)
        self.hears = replace(self.hears, forgotten=self.hears.forgotten | flows)
        return flows

    def reset(self) -> int:
        """Break all its TCP connections by an RST to either end; return how many there were."""
        return len(self.run("ss", "-HtnK", "state", "established").splitlines())

    @property
    def lost(self) -> int:
        """How many packets its weather has swallowed so far."""
        return self._network.lost[self.address]

    @property
    def slowed(self) -> int:
        """How many packets its weather has held up so far."""
        return self._network.slowed[self.address]

    def close(self) -> None:
        """Leave the network; the namespace ends with the last process in it."""
        os.close(self.wire)
        os.close(self._namespace)

    def _end(self, port: int) -> bytes:
        return IPv4Address(self.address).packed + port.to_bytes(2)


class Network:
    """The hosts, and the thread that carries packets between them."""

    def __init__(self, chance: random.Random) -> None:
        self.lost: Counter[str] = Counter()
        self.slowed: Counter[str] = Counter()
        self._chance = chance
        self._hosts: dict[bytes, Host] = {}
        self._addresses = _SUBNET.hosts()
        self._flows: set[Flow] = set()
        self._on_the_way = _OnTheWay()
        self._selector = selectors.DefaultSelector()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._carrier = threading.Thread(target=self._carry, name="wire")
        self._over = False
        self._failure: BaseException | None = None

    @classmethod
    @contextmanager
    def built(cls, chance: random.Random | None = None) -> Iterator[Self]:
        """Build a network; at the end of the block nothing is left of it."""
        with ExitStack() as built:
            network = cls(chance or random.Random())
            built.callback(network._tear_down)
            network._carrier.start()
            yield network
        if network._failure is not None:
            raise network._failure

    def host(self) -> Host:
        """Add a host."""
        address = next(self._addresses)
        namespace, wire = _in_a_thread(lambda: _new_namespace(address))
        host = Host(self, address, namespace, wire)
        self._hosts[address.packed] = host
        self._selector.register(wire, selectors.EVENT_READ, host)
        return host

    def flows(self) -> set[Flow]:
        """The TCP connections seen so far, those that have ended too."""
        return set(self._flows)

    def _tear_down(self) -> None:
        self._over = True
        if self._carrier.is_alive():
            os.eventfd_write(self._bell, 1)
            self._carrier.join()
        self._selector.close()
        os.close(self._bell)
        for host in self._hosts.values():
            host.close()

    def _carry(self) -> None:
        try:
            while not self._over:
                for key, _ in self._selector.select(self._on_the_way.until_due()):
                    if key.data is not None:
                        self._take_from(key.data)
                self._on_the_way.deliver()
        except Exception as failure:  # noqa: BLE001 - raised again by whoever built the network
            self._failure = failure

    def _take_from(self, source: Host) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(source.wire, 65536)
            except BlockingIOError:
                return
            target = self._hosts.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if target is not None:
                self._send(packet, source, target)

    def _send(self, packet: bytes, source: Host, target: Host) -> None:
        flow = _flow(packet)
        if flow is not None:
            self._flows.add(flow)
        delay = 0.0
        for host, weather in ((source, source.sends), (target, target.hears)):
            if flow in weather.forgotten or self._chance.random() < weather.loss:
                self.lost[host.address] += 1
                return
            if weather.delay_s:
                self.slowed[host.address] += 1
                delay += weather.delay_s + weather.jitter_s * self._chance.uniform(-1, 1)
        self._on_the_way.put(packet, (source.wire, target.wire), delay)


@dataclass(slots=True)
class _OnTheWay:
    """Packets that have left and not arrived; between two hosts none overtakes another."""

    _packets: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _last_due: dict[tuple[int, int], float] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def put(self, packet: bytes, way: tuple[int, int], delay_s: float) -> None:
        due = max(time.monotonic() + delay_s, self._last_due.get(way, 0.0))
        self._last_due[way] = due
        heapq.heappush(self._packets, (due, next(self._numbers), way[1], packet))

    def until_due(self) -> float | None:
        return max(self._packets[0][0] - time.monotonic(), 0.0) if self._packets else None

    def deliver(self) -> None:
        while self._packets and self._packets[0][0] <= time.monotonic():
            _, _, wire, packet = heapq.heappop(self._packets)
            os.write(wire, packet)


def _flow(packet: bytes) -> Flow | None:
    if packet[9] != _TCP:
        return None
    header = (packet[0] & 0x0F) * 4
    one = packet[12:16] + packet[header : header + 2]
    other = packet[16:20] + packet[header + 2 : header + 4]
    return (one, other) if one < other else (other, one)


def _new_namespace(address: IPv4Address) -> tuple[int, int]:
    """Move the calling thread into a namespace with one wire; return descriptors of both."""
    _call_libc("unshare", _CLONE_NEWNET)
    wire = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(wire, _TUNSETIFF, struct.pack("16sH", b"wire", _IFF_TUN_NO_PI))
    commands = (
        f"link set lo up\naddress add {address}/{_SUBNET.prefixlen} dev wire\nlink set wire up\n"
    )
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), wire


def _in_a_thread(make: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    """Run it in a thread of its own, which takes its namespace with it when it ends."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with closing(os.fdopen(descriptor)):
        yield descriptor


def _call_libc(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[function](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
