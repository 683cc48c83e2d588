"""A machine in small, as a program: whatever is started on it ends with it, however detached.

    python3 -I -S machine.py PROGRAM [ARGUMENT...]

Patroni lets PostgreSQL go, so that it outlives Patroni; init would adopt it, and nobody would end
it after a test that was killed. This process adopts it instead. At SIGINT, which the kernel sends
as well once the test has died (see `coordinator.embedded.child`), it ends PROGRAM in good order,
then what is left, and kills what will not go.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_POLITE_S = 5.0
_LOOK_EVERY_S = 0.01
_HEARD = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}


def main() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit(f"no subreaper: {os.strerror(ctypes.get_errno())}")
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    program = _start(sys.argv[1:])
    while signal.sigwait(_HEARD) == signal.SIGCHLD:
        _bury()
    _shut_down(program)


def _start(command: list[str]) -> int:
    program = os.fork()
    if program == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        os.execvp(command[0], command)
    return program


def _shut_down(program: int) -> None:
    _end(lambda: [pid for pid in _children() if pid == program])
    _end(_children)


def _end(them: Callable[[], list[int]]) -> None:
    told: set[int] = set()
    end = time.monotonic() + _POLITE_S
    while pids := them():
        late = time.monotonic() > end
        for pid in pids:
            if late or pid not in told:
                told.add(pid)
                # To PostgreSQL, SIGINT is a fast shutdown.
                _send(pid, signal.SIGKILL if late else signal.SIGINT)
        time.sleep(_LOOK_EVERY_S)
        _bury()


def _bury() -> None:
    """Take leave of every child that has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _children() -> list[int]:
    """All who have no other parent; the children of those who end become ours as well."""
    own = os.getpid()
    return [int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()]


def _send(pid: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sign)


if __name__ == "__main__":
    main()
