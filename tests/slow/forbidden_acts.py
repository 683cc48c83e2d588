"""Tries what a service must not do, and prints how each went: runs inside the machine.

Each act has a process of its own, so that none spoils the next.
"""

import ctypes
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

_SCHED_FIFO_1 = os.sched_param(1)
_PTRACE_TRACEME = 0
_ADDR_NO_RANDOMIZE = 0x0040000
_CLONE_NEWUSER = 0x10000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_OWN = os.environ["RUNTIME_DIRECTORY"]


def call(function: str, *arguments: object) -> None:
    if _LIBC[function](*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def make(path: str) -> None:
    Path(path).touch()
    Path(path).unlink()


def make_setuid() -> None:
    file = Path(_OWN, "setuid")
    file.touch()
    file.chmod(0o4755)


ACTS: Mapping[str, Callable[[], object]] = {
    "write to /etc": lambda: make("/etc/forbidden"),
    "write to its own program": lambda: make("/opt/coordinator/forbidden"),
    "write where all may write": lambda: make("/srv/open/forbidden"),
    "write to shared memory": lambda: make("/dev/shm/forbidden"),
    "see a home": lambda: Path("/home/visitor/letter").read_text(),
    "read the file of the credential": lambda: Path("/etc/coordinator/probe.dsn").read_text(),
    "see the first process": lambda: Path("/proc/1/status").read_text(),
    "see kernel settings": lambda: Path("/proc/sys/kernel/ostype").read_text(),
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "mount": lambda: call("mount", b"tmpfs", b"/mnt", b"tmpfs", 0, None),
    "make a user namespace": lambda: call("unshare", _CLONE_NEWUSER),
    "trace": lambda: call("ptrace", _PTRACE_TRACEME, 0, None, None),
    "change its personality": lambda: call("personality", _ADDR_NO_RANDOMIZE),
    "write what it executes": lambda: mmap.mmap(-1, 4096, prot=7),
    "run in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, _SCHED_FIFO_1),
    "name the machine": lambda: socket.sethostname(socket.gethostname()),
    "become root": lambda: os.setuid(0),
    "make a setuid program": make_setuid,
    "dump its memory": lambda: call("setrlimit", 4, (ctypes.c_ulong * 2)(1, 1)),
}


def tried(act: Callable[[], object]) -> str:
    """Do it in a child; say `done`, or the error."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return "done" if code == 0 else f"signal {-code}" if code < 0 else os.strerror(code)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: tried(act) for name, act in ACTS.items()}) + "\n")
