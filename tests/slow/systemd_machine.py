"""A booted Debian with systemd, in which the daemon is installed as an operator would.

The tree is made by debootstrap once, and kept in pytest's cache. Each machine is an overlay of it
in memory, in a mount namespace of its own: nothing is left when the machine ends, however the tests
end. The project is installed as a wheel, with what it needs, by the pip of the machine's own
Python; the host's pip fetches all that, so that its configuration counts and is not copied.
The machine shares the host's network: it reaches a server of the tests on loopback.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.support.processes import RunningProcess, descendants, running
from tests.support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
BIN: Final = "/opt/coordinator/bin"
MISSING: Final = [
    program
    for program in ("debootstrap", "systemd-nspawn", "systemd-analyze", "nsenter", "unshare")
    if shutil.which(program) is None
]
"""What this machine lacks for it."""

_SUITE = "bookworm"
_PACKAGES = ("dbus", "python3", "python3-venv", "systemd", "systemd-sysv")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOTED_WITHIN = timedelta(seconds=60)
_BOOT = """
set -eu
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=tree,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
trap 'kill -TERM "$machine"' TERM
status=133  # how it ends where the machine wants to boot anew
while [ "$status" = 133 ]; do
    setpriv --pdeathsig KILL systemd-nspawn --quiet --directory "$1/root" --boot --register=no \
        --keep-unit --console=pipe --bind-ro="$2:/wheels" &
    machine=$!
    while kill -0 "$machine" 2>/dev/null; do
        status=0
        wait "$machine" || status=$?
    done
done
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command in the machine has left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted machine; `leader` is its init, as the host numbers it, and `host` what runs it."""

    leader: int
    host: RunningProcess

    def try_(self, *command: str, stdin: str = "") -> Said:
        """Run a command as root, with nothing in its environment but the usual PATH."""
        enter = ["nsenter", "--target", str(self.leader), "--all"]
        done = subprocess.run(
            [*enter, "env", "-i", f"PATH={_PATH}", "LANG=C.UTF-8", *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command that must succeed; return what it printed."""
        said = self.try_(*command, stdin=stdin)
        assert said.code == 0, (command, said)
        return said.out

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file."""
        self.run("install", "-D", f"--mode={mode:o}", "/dev/stdin", path, stdin=text)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, or all of them."""
        chosen = [f"--property={','.join(names)}"] if names else []
        lines = self.run("systemctl", "show", *chosen, unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """The journal's entries about a unit in its present life, systemd's own included."""
        lines = self.run("journalctl", "--unit", unit, "--output=json", "--all").splitlines()
        return [json.loads(line) for line in lines]

    def logged(self, unit: str) -> list[dict[str, Any]]:
        """What the daemon itself has logged, each line with its `priority`."""
        return [
            {**json.loads(entry["MESSAGE"]), "priority": int(entry["PRIORITY"])}
            for entry in self.journal(unit)
            if isinstance(entry["MESSAGE"], str) and entry["MESSAGE"].startswith("{")
        ]

    def told(self, unit: str) -> str:
        """All that was said about a unit and by it, as text."""
        return "\n".join(str(entry["MESSAGE"]) for entry in self.journal(unit))

    async def comes_to(self, unit: str, *, within: float = 20, **wanted: str) -> dict[str, str]:
        """Wait until these properties of a unit have these values; return them."""

        async def probe() -> dict[str, str]:
            shown = self.show(unit, *wanted)
            return shown if shown == wanted else {}

        try:
            return await eventually(probe, within=timedelta(seconds=within))
        except AssertionError as error:
            error.add_note(f"{self.show(unit, *wanted)}\n{self.told(unit)[-4000:]}")
            raise


async def rebooted(machine: Machine) -> Machine:
    """Let it shut down in order and boot anew; what ran is what was enabled."""
    machine.try_("systemctl", "reboot")  # which may cut its own answer off
    again = Machine(await _leader(machine.host, after=machine.leader), machine.host)
    await _is_up(again)
    return again


def debian_tree(cache: Path) -> Path:
    """The folder whose `tree` is a Debian, made there unless it has been."""
    key = sha256(" ".join([_SUITE, *_PACKAGES]).encode()).hexdigest()[:12]
    folder = cache / key
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock"):
        if not (folder / "tree").exists():
            unfinished = folder / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            # Packages are checked against the keys of the host's own Debian.
            command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
            subprocess.run(
                [*command, _SUITE, str(unfinished), _mirror()],
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_proxy()},
            )
            shutil.rmtree(unfinished / "var/cache/apt/archives")
            unfinished.rename(folder / "tree")
    return folder


def wheels(into: Path, *, python: str) -> None:
    """Build the project's wheel, and fetch what it needs for this Python."""
    run = [sys.executable, "-m"]
    subprocess.run(
        [*run, "build", "--wheel", "--no-isolation", "--outdir", str(into), str(ROOT)],
        check=True,
        capture_output=True,
    )
    [wheel] = into.glob("*.whl")
    chosen = ["--only-binary=:all:", "--python-version", python]
    chosen += ["--constraint", str(ROOT / "constraints.txt"), "--dest", str(into)]
    subprocess.run(
        [*run, "pip", "download", "--quiet", *chosen, str(wheel)],
        check=True,
        capture_output=True,
    )


@asynccontextmanager
async def booted(cache: Path) -> AsyncIterator[Machine]:
    """Boot a machine that has the coordinator in /opt/coordinator; it ends with the block."""
    folder = debian_tree(cache)
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        place, fetched = Path(name, "machine"), Path(name, "wheels")
        place.mkdir()
        fetched.mkdir()
        wheels(fetched, python=_python_of(folder / "tree"))
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BOOT, "boot"]
        # The kernel ends it as well once the test has died.
        command = ["setpriv", "--pdeathsig", "TERM", *command, str(place), str(fetched)]
        async with running(command, cwd=folder) as process:
            try:
                machine = Machine(await _leader(process), process)
                await _is_up(machine)
                _install(machine)
                yield machine
            finally:
                process.kill(signal.SIGTERM)  # an orderly shutdown
                await process.wait()


def _install(machine: Machine) -> None:
    machine.run("python3", "-m", "venv", "/opt/coordinator")
    machine.run(
        f"{BIN}/python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links=/wheels",
        "agent-coordinator",
    )  # fmt: skip


async def _leader(process: RunningProcess, *, after: int | None = None) -> int:
    async def probe() -> int | None:
        assert process.process.poll() is None, process
        found = (pid for pid in descendants(process.pid) if _is_init(pid) and pid != after)
        return next(found, None)

    found = await eventually(probe, within=_BOOTED_WITHIN)
    assert found is not None
    return found


async def _is_up(machine: Machine) -> None:
    async def probe() -> bool:
        said = machine.try_("systemctl", "is-system-running")
        return said.out.strip() in ("running", "degraded")

    await eventually(probe, within=_BOOTED_WITHIN)
    assert machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


def _is_init(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False
    # The first process of its namespace, which has become systemd by now.
    return re.search(r"^NSpid:.*\t1$", status, re.MULTILINE) is not None and program.endswith(
        "/systemd"
    )


def _python_of(tree: Path) -> str:
    [library] = (tree / "usr/lib").glob("python3.*")
    return library.name.removeprefix("python")


def _mirror() -> str:
    """Where apt of this machine finds Debian."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    )
    pairs = [line.split() for line in told.stdout.splitlines()]
    return next(uri for uri, release in pairs if release in (_SUITE, "stable", "oldstable"))


def _proxy() -> dict[str, str]:
    told = subprocess.run(
        ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return {"http_proxy": told.removeprefix("PROXY=").strip("'")} if told else {}


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def dropped_in(lines: Sequence[str]) -> str:
    """The text of a drop-in for the section Service."""
    return "\n".join(["[Service]", *lines, ""])
