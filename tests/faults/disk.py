"""A disk of one's own, small enough to be filled: for root only."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from coordinator.embedded import PrivateServer
from tests.support.postgres import THROW_AWAY, chosen_binaries

_MEGABYTES = 160
"""A migrated cluster takes 40 of them, its log of writes up to 32."""
_SMALL_LOG_OF_WRITES = {"max_wal_size": "32MB", "min_wal_size": "32MB"}
_AT_ONCE = b"\0" * 2**16


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system in memory, mounted for one test."""

    path: Path

    def fill(self) -> int:
        """Take what is left of it; return how many bytes that was."""
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(_AT_ONCE)
        return self._ballast.stat().st_size

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"


@contextmanager
def small_disk() -> Iterator[Disk]:
    """Mount one until the end of the block; skip the test where this is forbidden."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        place = shlex.quote(name)
        # It unmounts when its standard input is closed: also when this process is killed.
        keeper = subprocess.Popen(
            [
                "sh",
                "-c",
                f"mount -t tmpfs -o size={_MEGABYTES}m tmpfs {place} && echo mounted"
                f" && {{ read -r _; umount --lazy {place}; }}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with keeper:
            assert keeper.stdout
            if keeper.stdout.readline() != b"mounted\n":
                pytest.skip("a disk cannot be mounted here")
            yield Disk(Path(name))


@asynccontextmanager
async def server_on_a_small_disk(
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[PrivateServer, Disk]]:
    """A throw-away server with a disk of its own."""
    with small_disk() as disk:
        async with PrivateServer.start(
            disk.path / "server",
            chosen_binaries(),
            settings={**THROW_AWAY, **_SMALL_LOG_OF_WRITES, **(settings or {})},
            durable=False,
        ) as server:
            yield server, disk
