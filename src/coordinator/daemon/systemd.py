"""What the daemon tells systemd, and the watchdog that progress feeds.

The protocol is sd_notify(3): one datagram of `KEY=value` lines to the socket that the service
manager names in NOTIFY_SOCKET. Written for systemd 252, which knows no `Type=notify-reload`; the
answer to a reload is right for both.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import anyio

from coordinator.daemon.progress import Progress

# A datagram to a full queue waits; systemd empties it at once unless it is in deep trouble.
_SEND_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Notifier:
    """The way to the service manager. Without one, every message is silently dropped.

    `address` is a path, or a name of the abstract namespace that starts with `@`.
    `watchdog` is the time within which systemd wants a sign of life; None if it wants none.
    No method raises when a message cannot be sent.
    """

    address: str | None = None
    watchdog: timedelta | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; absent or strange means none."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in ("/", "@") else None, _watchdog(environ))

    def ready(self, status: str) -> None:
        """Say that the service is up, or that a reload is over."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Show one line to whoever asks `systemctl status`."""
        self._send(f"STATUS={_one_line(text)}")

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` must follow."""
        # In one datagram: systemd 253 and later refuse RELOADING without its time.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1", f"STATUS={_one_line(status)}")

    def ask_for_time(self) -> None:
        """Put off the limit of the start, for as long as a sign of life may take."""
        if self.watchdog is not None:
            self._send(f"EXTEND_TIMEOUT_USEC={self.watchdog // timedelta(microseconds=1)}")

    def ping_watchdog(self) -> None:
        """Give the sign of life that the watchdog waits for."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self.address is None:
            return
        # What the service manager does not hear must not harm the service.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SEND_LIMIT_S)
            sock.connect(f"\0{self.address[1:]}" if self.address[0] == "@" else self.address)
            sock.sendall("\n".join(assignments).encode())


async def keep_watchdog(
    notifier: Notifier,
    progress: Progress,
    on_stall: Callable[[str], None],
    *,
    starting: Callable[[], bool] = lambda: False,
) -> None:
    """Ping at half the watchdog's time while every loop makes progress; return if none is wanted.

    systemd watches from READY on; while `starting`, each ping also puts off the limit of the start.
    While a loop stalls, the ping is withheld; `on_stall` gets its name, once a stall.
    """
    if notifier.watchdog is None:
        return
    told: set[str] = set()
    while True:
        stalled = progress.stalled()
        if not stalled:
            notifier.ping_watchdog()
            if starting():
                notifier.ask_for_time()
        for name in stalled:
            if name not in told:
                on_stall(name)
        told = set(stalled)
        await anyio.sleep(notifier.watchdog.total_seconds() / 2)


def _watchdog(environ: Mapping[str, str]) -> timedelta | None:
    # A child inherits the variables of its parent, whose watchdog is not the child's to feed.
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        timeout = timedelta(microseconds=int(environ.get("WATCHDOG_USEC", "")))
    except (ValueError, OverflowError):
        return None
    return timeout if timeout > timedelta(0) else None


def _one_line(text: str) -> str:
    # A line of its own would be read as another assignment.
    return " ".join(text.split())
