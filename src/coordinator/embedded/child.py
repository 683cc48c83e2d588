"""Becomes a PostgreSQL program: changes identity, ties its life to its parent's, and execs.

    python -I -S child.py IDENTITY GUARD DIRECTORY PROGRAM [ARGUMENT...]

IDENTITY   self | namespace | drop:UID:GID
GUARD      none | kernel:PARENT (Linux; PARENT is the expected parent's pid)
           | pipe:FD (anywhere; the parent holds the other end of FD, and its death closes it)
DIRECTORY  becomes the working directory, after the change of identity

It is run as a file, outside the package and without site-packages, so that it starts in a few
milliseconds. It exits with 126 and one line on stderr if it cannot become the program.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_INSIDE = 1000
"""Who root is inside the namespace; any number but 0 will do."""

_FAST_SHUTDOWN = signal.SIGINT


def main() -> None:
    identity, guard, directory, program, *arguments = sys.argv[1:]
    try:
        _become(identity)
        os.chdir(directory)
        # Python only notes the signal, and the note would be lost when the program replaces it.
        signal.signal(_FAST_SHUTDOWN, signal.SIG_DFL)
        # Last, because a change of identity clears the kernel's guard.
        _tie_to_parent(guard)
        os.execv(program, [program, *arguments])  # noqa: S606 - there is no shell on purpose
    except OSError as error:
        sys.exit(_explain(error, identity))


def _become(identity: str) -> None:
    match identity.split(":"):
        case ["self"]:
            pass
        case ["namespace"]:
            _enter_namespace()
        case ["drop", uid, gid]:
            os.setgroups([])
            os.setgid(int(gid))
            os.setuid(int(uid))
        case _:
            sys.exit(f"unknown identity: {identity}")


def _enter_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    _call_libc("unshare", _CLONE_NEWUSER)
    # The kernel takes a group map from a process without privileges only after this.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INSIDE} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_INSIDE} {gid} 1")


def _tie_to_parent(guard: str) -> None:
    match guard.split(":"):
        case ["none"]:
            pass
        case ["kernel", parent]:
            _call_libc("prctl", _PR_SET_PDEATHSIG, _FAST_SHUTDOWN)
            # A parent that died before the call sends no signal any more.
            if os.getppid() != int(parent):
                sys.exit("the parent has died")
        case ["pipe", descriptor]:
            _watch_pipe(int(descriptor))
        case _:
            sys.exit(f"unknown guard: {guard}")


def _watch_pipe(descriptor: int) -> None:
    """Leave a process behind that stops the program once the parent's end is closed."""
    program = os.getpid()
    if os.fork() != 0:
        os.close(descriptor)
        return
    os.read(descriptor, 1)
    # Once the program has ended, its number may belong to somebody else.
    if os.getppid() == program:
        os.kill(program, _FAST_SHUTDOWN)
    os._exit(0)


def _call_libc(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[function](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _explain(error: OSError, identity: str) -> int:
    sys.stderr.write(f"{Path(__file__).name}: as {identity}, uid {os.getuid()}: {error}\n")
    return 126


if __name__ == "__main__":
    main()
