"""As whom the server runs. PostgreSQL refuses to run as root, so root needs another identity.

A user namespace is the better way: root appears as an ordinary user inside, yet its files stay
its own, so a data directory or an installation below a closed home needs no chmod and no chown.
Where namespaces are forbidden (most containers), the server drops to an unprivileged user, who
then must be able to reach both. A data directory stays with the identity that made it.
"""

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coordinator.core.errors import ConfigError

CHILD = Path(__file__).with_name("child.py")

_UNPRIVILEGED = ("postgres", "nobody")
_PROBE = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """`self` needs nothing; `namespace` and `drop` are for root only."""

    kind: Literal["self", "namespace", "drop"]
    uid: int
    """Who owns the files, as this process sees it."""
    gid: int

    @property
    def argument(self) -> str:
        """How `child.py` is told."""
        return f"drop:{self.uid}:{self.gid}" if self.kind == "drop" else self.kind

    def own(self, path: Path) -> None:
        """Give the path itself, and nothing above or below it, to this identity."""
        if self.kind == "drop":
            os.chown(path, self.uid, self.gid)


def identity_for(data_dir: Path) -> Identity:
    """Who shall run the server on `data_dir`, which may or may not exist yet.

    Raise ConfigError if this is root and no other identity can be had.
    """
    if os.geteuid() != 0:
        return Identity("self", os.geteuid(), os.getegid())
    owner = data_dir.stat() if data_dir.exists() else None
    if owner is not None and owner.st_uid != 0:
        return Identity("drop", owner.st_uid, owner.st_gid)
    if _namespaces_work():
        return Identity("namespace", 0, 0)
    if owner is not None:
        raise ConfigError(
            f"root owns {data_dir}, and this system forbids user namespaces",
            "PostgreSQL refuses to run as root, so it cannot use these files.",
            "Give the directory to an unprivileged user (chown -R), or use another directory.",
        )
    return _unprivileged()


def _namespaces_work() -> bool:
    command = [sys.executable, "-I", "-S", str(CHILD), "namespace", "none", "/", "/bin/true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=_PROBE).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _unprivileged() -> Identity:
    for name in _UNPRIVILEGED:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity("drop", user.pw_uid, user.pw_gid)
    raise ConfigError(
        f"none of the users {' and '.join(_UNPRIVILEGED)} exists",
        "PostgreSQL refuses to run as root, and this system forbids user namespaces.",
        "Run as an ordinary user, or create one of them.",
    )
