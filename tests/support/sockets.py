"""What a process listens on, read from /proc, so that the kernel has the last word."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tests.support.processes import descendants

_LISTENS_TCP = "0A"
_LISTENS_UNIX = "00010000"


@dataclass(frozen=True, slots=True)
class Listening:
    """One open door: a host's number for the network, or a path for a unix socket."""

    kind: str
    where: str

    @property
    def is_private(self) -> bool:
        """Whether no other machine reaches it."""
        return self.kind == "unix" or self.where in ("127.0.0.1", "::1")


def listening_sockets(pid: int) -> set[Listening]:
    """All that a process and its children listen on, datagram sockets included."""
    return {found for each in (pid, *descendants(pid)) for found in _of(each)}


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def _of(pid: int) -> Iterator[Listening]:
    inodes = _socket_inodes(pid)
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            # A datagram socket listens as soon as it has a port of its own.
            listens = state == _LISTENS_TCP if kind.startswith("tcp") else True
            if listens and rest[5] in inodes:
                yield Listening(kind, _host(local.partition(":")[0]))
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, inode, *path = line.split(maxsplit=7)
        if flags == _LISTENS_UNIX and inode in inodes:
            yield Listening("unix", path[0] if path else "")


def _host(digits: str) -> str:
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    number = b"".join(words)
    return str(IPv4Address(number) if len(number) == 4 else IPv6Address(number))


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    return inodes
