"""Keeps one wrapped command: starts it in a session of its own, and leaves nothing of it behind.

    python -I -S keeper.py LEASH REPORT GRACE_S PRIVATE COMMAND [ARGUMENT...]

LEASH    a descriptor; the runner holds the other end. When that closes, because the runner wants
         the end or because it has died, the command is ended
REPORT   a descriptor for how it went: `unstartable WHY`, `exited CODE`, `signalled NUMBER`,
         `left COUNT` (processes that even KILL did not end), a line each
GRACE_S  seconds between TERM and KILL
PRIVATE  a folder that is removed at the end, also where the runner no longer can

On Linux the keeper is a subreaper: whatever loses its parent becomes the keeper's child, also what
made a session of its own. No child left means nothing left. Elsewhere only the command's own
process group is found. Should the keeper itself be killed, the kernel kills the command with it,
but not the command's own children.

It is run as a file, outside the package and without site-packages, so that it starts in a few
milliseconds and survives whatever happens to the runner.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILLING_S = 5.0
"""How long KILL is repeated; who is in the kernel's hands for longer is left there."""
_BETWEEN_KILLS_S = 0.02
_UNSTARTABLE = 127


def main() -> None:
    leash, report = (int(number) for number in sys.argv[1:3])
    grace_s, private, command = float(sys.argv[3]), sys.argv[4], sys.argv[5:]
    for descriptor in (leash, report):
        os.set_inheritable(descriptor, False)
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    bell = _bell()
    keeper = Keeper(_started(command, report), grace_s)
    try:
        _let_go_of_pipes()
        keeper.wait_for_end(leash, bell)
        # Told at once: what it has left behind must not hide that it came to its end by itself.
        told = keeper.ending
        os.write(report, told.encode())
        keeper.end_the_rest(bell)
        rest = keeper.left if told else keeper.ending + keeper.left
        os.write(report, rest.encode())
    finally:
        shutil.rmtree(private, ignore_errors=True)


class Keeper:
    """The command, and what it has started."""

    def __init__(self, command: int, grace_s: float) -> None:
        self._command = command
        self._grace_s = grace_s
        self._status: int | None = None

    @property
    def ending(self) -> str:
        """How the command ended, in the words of the module's head; nothing while it runs."""
        if self._status is None:
            return ""
        code = os.waitstatus_to_exitcode(self._status)
        return f"exited {code}\n" if code >= 0 else f"signalled {-code}\n"

    @property
    def left(self) -> str:
        """What could not be ended, in the words of the module's head."""
        return "" if self._nothing_left() else f"left {len(list(_descendants())) or 1}\n"

    def wait_for_end(self, leash: int, bell: int) -> None:
        """Return once the command has ended, or should."""
        while not self._nothing_left() and self._status is None:
            ready, _, _ = select.select([leash, bell], [], [])
            if leash in ready or _asked_to_end(bell):
                return

    def end_the_rest(self, bell: int) -> None:
        """TERM, and KILL after the grace, whatever still runs."""
        if self._nothing_left():
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a stopped process could not obey
        self._wait(bell, until=time.monotonic() + self._grace_s)
        enough = time.monotonic() + _KILLING_S
        while not self._nothing_left() and time.monotonic() < enough:
            # Again and again: it may be making new children.
            self._signal(signal.SIGKILL)
            self._wait(bell, until=time.monotonic() + _BETWEEN_KILLS_S)

    def _wait(self, bell: int, *, until: float) -> None:
        while not self._nothing_left() and (rest := until - time.monotonic()) > 0:
            select.select([bell], [], [], rest if _LINUX else min(rest, _BETWEEN_KILLS_S))
            _asked_to_end(bell)

    def _nothing_left(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self._command:
                    self._status = status
                if pid == 0:
                    return False
        return _LINUX or not _group_lives(self._command)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._command, number)
        for pid, group in _descendants():
            if group != self._command:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)


def _started(command: list[str], report: int) -> int:
    keeper = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        if _LINUX:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        # A keeper that died before the guard was set sends no signal any more.
        if os.getppid() == keeper:
            os.execvp(command[0], command)  # noqa: S606 - there is no shell on purpose
    except OSError as error:
        os.write(report, f"unstartable {error.strerror}\n".encode())
    finally:
        os._exit(_UNSTARTABLE)


def _bell() -> int:
    """Return a descriptor that is readable once a signal came."""
    bell, rope = os.pipe()
    for end in (bell, rope):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(rope, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return bell


def _asked_to_end(bell: int) -> bool:
    """Read the signals that came; whether one was not about a child."""
    with contextlib.suppress(BlockingIOError):
        return any(number != signal.SIGCHLD for number in os.read(bell, 4096))
    return False


def _let_go_of_pipes() -> None:
    # Whoever reads the command's output must see its end when the command has closed it.
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)


def _descendants() -> Iterator[tuple[int, int]]:
    """Yield pid and process group of everything that descends from here; needs /proc."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc") if Path("/proc/self").exists() else ():
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The name in brackets may hold anything.
                rest = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(rest[1]), []).append((int(name), int(rest[2])))
    waiting = children.pop(os.getpid(), [])
    while waiting:
        pid, group = waiting.pop()
        waiting += children.pop(pid, [])
        yield pid, group


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
