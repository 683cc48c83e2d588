"""The network that the figures rest on: wires do what they are told, and leave nothing behind."""

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.support.network import AVAILABLE, SILENT, Host, Network, Weather

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="needs root, and /dev/net/tun"),
]

PORT = 7000
A_WHILE = 1.5
"""Seconds; TCP sends again several times meanwhile."""


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of this test alone."""
    with Network.built(random.Random(1)) as network:
        yield network


def test_what_is_sent_over_a_bad_link_arrives_whole_and_late(network: Network) -> None:
    near, far = network.host(), network.host()
    sent = random.Random(2).randbytes(100_000)
    with connected(near, far) as (here, there):
        bad = Weather(loss=0.05, delay_s=0.05, jitter_s=0.02)
        with near.under(sends=bad, hears=Weather(loss=0.05)):
            began = time.monotonic()
            here.sendall(sent)
            here.shutdown(socket.SHUT_WR)

            assert b"".join(iter(lambda: there.recv(65536), b"")) == sent

        assert time.monotonic() - began > 0.05
        assert near.slowed > 50
        assert near.lost > 0


@pytest.mark.parametrize("direction", ["sends", "hears"])
def test_a_silent_wire_passes_nothing_until_it_is_mended(network: Network, direction: str) -> None:
    near, far = network.host(), network.host()
    with connected(near, far) as (here, there):
        speaker, listener = (here, there) if direction == "sends" else (there, here)
        with near.under(**{direction: SILENT}):
            speaker.sendall(b"hello")
            assert heard(listener) is None
            assert near.lost > 1
        listener.settimeout(10)

        assert listener.recv(5) == b"hello"


def test_a_forgotten_connection_is_silent_for_ever_while_new_ones_pass(network: Network) -> None:
    near, far = network.host(), network.host()
    with connected(near, far) as (here, there), connected(near, far, PORT + 1) as (other, its_end):
        assert len(near.forget(here.getsockname()[1])) == 1

        here.sendall(b"hello")
        other.sendall(b"hello")

        assert its_end.recv(5) == b"hello"
        assert heard(there) is None
        with connected(near, far, PORT + 2) as (new, newest_end):
            new.sendall(b"hello")
            assert newest_end.recv(5) == b"hello"


def test_a_reset_tells_both_ends_at_once(network: Network) -> None:
    near, far = network.host(), network.host()
    with connected(near, far) as (here, there):
        assert near.reset() == 1

        with pytest.raises(ConnectionError):
            here.recv(1)
        with pytest.raises(ConnectionResetError):
            there.recv(1)


def test_nothing_is_left_of_a_network() -> None:
    before = set(os.listdir("/proc/self/fd")), threading.active_count(), home()

    with Network.built() as network, connected(network.host(), network.host()):
        assert threading.active_count() == before[1] + 1

    assert (set(os.listdir("/proc/self/fd")), threading.active_count(), home()) == before


@contextmanager
def connected(
    near: Host, far: Host, port: int = PORT
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection between two hosts."""
    with ExitStack() as sockets:
        with far.entered():
            door = sockets.enter_context(closing(socket.create_server((far.address, port))))
        with near.entered():
            here = socket.create_connection((far.address, port), timeout=10)
        sockets.enter_context(closing(here))
        there, _ = door.accept()
        sockets.enter_context(closing(there))
        there.settimeout(10)
        yield here, there


def heard(listener: socket.socket) -> bytes | None:
    """What comes within a while; None if nothing does."""
    listener.settimeout(A_WHILE)
    try:
        return listener.recv(100)
    except TimeoutError:
        return None


def home() -> str:
    """The namespace of this thread."""
    return os.readlink("/proc/thread-self/ns/net")
