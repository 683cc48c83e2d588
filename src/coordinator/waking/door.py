"""Where a session's server and its hooks meet: a unix socket in a folder of this user.

The path follows from the user's number and the agent's name alone. Nothing of the environment may
decide: Codex gives its MCP servers next to none of it, and its hooks all.

Only this user can enter the folder (0700), so only this user can reach the socket (0600). Both
sides make sure: of the folder, of the socket, and of who is at the other end, where the kernel says
so.
"""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

FOLDER_VARIABLE = "COORDINATOR_HOOKS_FOLDER"
"""The variable that puts the folder elsewhere, for both sides."""
_LONGEST_PATH = 100
"""Bytes; the kernel's limit is 108 on Linux and 104 elsewhere, with room for a suffix."""
_BACKLOG = 128


class Unsafe(OSError):
    """The folder or the socket is not what it must be, or another user is there."""


@dataclass(frozen=True, slots=True)
class Door:
    """The place where the server of one agent hears its session's hooks."""

    name: str
    elsewhere: Path | None = None
    """The folder, where somebody has chosen it."""

    @classmethod
    def of(cls, agent_name: str, *, folder: str | None = None) -> Self:
        """Return the door of an agent of this user; `folder` overrides where."""
        name = sha256(agent_name.encode(errors="surrogatepass")).hexdigest()[:32]
        return cls(name, Path(folder) if folder else None)

    @property
    def folder(self) -> Path:
        """The folder; its user's own may come and go with their logins."""
        return self.elsewhere or _folder_of(os.geteuid())

    @property
    def socket(self) -> Path:
        """The socket."""
        return self.folder / f"{self.name}.s"

    @property
    def turn(self) -> Path:
        """The file that says which hook is the newest."""
        return self.folder / f"{self.name}.turn"

    def check(self) -> None:
        """Raise Unsafe, or another OSError, unless the folder is ours and nobody else's."""
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise Unsafe(f"{self.folder} is no folder of this user")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise Unsafe(f"others may enter {self.folder}; its mode must be 0700")

    def make(self) -> None:
        """Make the folder, or check the one that is there; raise OSError."""
        with suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        self.check()


@contextmanager
def opened(door: Door) -> Iterator[socket.socket]:
    """Listen in place of whoever did, for the length of the block; raise OSError.

    The socket is made beside and moved into place, so that a hook finds the old one or the new one.
    At the end it is removed if it is still ours.
    """
    door.make()
    place = door.socket
    beside = place.with_suffix(f".{os.getpid():x}")
    if len(os.fsencode(beside)) > _LONGEST_PATH:
        raise Unsafe(f"the path of the socket is too long: {place}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        beside.unlink(missing_ok=True)
        listener.bind(str(beside))
        beside.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        ours = _identity(beside)
        beside.rename(place)
        try:
            yield listener
        finally:
            with suppress(OSError):
                if _identity(place) == ours:
                    place.unlink()


def entered(door: Door, *, within_s: float) -> socket.socket:
    """Connect to the server; raise OSError where there is none, or none to be trusted."""
    door.check()
    found = door.socket.lstat()
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise Unsafe(f"{door.socket} is no socket of this user")
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.settimeout(within_s)
        stream.connect(str(door.socket))
        check_peer(stream)
    except BaseException:
        stream.close()
        raise
    return stream


def check_peer(stream: socket.socket) -> None:
    """Raise Unsafe where the kernel says that another user is at the other end."""
    user = _user_at(stream)
    if user not in (None, os.geteuid()):
        raise Unsafe(f"the user {user} is at the other end")


def _user_at(stream: socket.socket) -> int | None:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # macOS; the folder's mode has kept others out
        return None
    _, uid, _ = struct.unpack("3i", stream.getsockopt(socket.SOL_SOCKET, option, 12))
    return int(uid)


def _folder_of(uid: int) -> Path:
    runtime = Path(f"/run/user/{uid}")
    with suppress(OSError):
        if runtime.stat().st_uid == uid:
            return runtime / "coordinator"
    return Path(f"/tmp/coordinator-{uid}")  # noqa: S108 - owner and mode are checked


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
