"""The image, built on a stand-in for its base and run by podman: no registry is at hand.

The stand-in bears the base's name. It is made as the published one is: Debian's minimal system,
CPython under /usr/local with its debug symbols stripped and its tests and byte code removed, and
pip. What it cannot prove is what the publisher put into the real one.
"""

import fcntl
import hashlib
import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import a_working

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
IMAGE = "localhost/coordinator:test"
REVISION = "0123456789abcdef0123456789abcdef01234567"

_PROGRAMS = ("buildah", "conmon", "debootstrap", "podman", "runc", "strip", "tar")
_SUITE = "bookworm"
_LIBRARIES = (
    "ca-certificates,netbase,tzdata,libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,"
    "libreadline8,libsqlite3-0,libssl3,libuuid1,zlib1g"
)
_PIP_SETTINGS = {"cert", "index-url", "proxy", "trusted-host"}
_BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_IN_THE_BASE = ("__pycache__", "test", "tests", "idle_test", "*.a", "site-packages/*")


def needs_containers() -> None:
    """Skip, with the reason, where images cannot be built or run."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("root is needed to make a base image")


@dataclass(frozen=True, slots=True)
class Engine:
    """Podman and buildah on a storage of their own, which nothing else on the machine sees."""

    directory: Path

    def podman(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of podman to its end; unless `check` is off it must succeed."""
        return _ended(["podman", *arguments], env=self.environment, check=check)

    @property
    def environment(self) -> dict[str, str]:
        """What leads podman and buildah to this storage."""
        return {
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "TMPDIR": str(self.directory / "tmp"),
        }

    def inspect(self, image: str) -> dict[str, Any]:
        """What podman knows of an image."""
        (found,) = json.loads(self.podman("image", "inspect", image).stdout)
        assert isinstance(found, dict)
        return found

    def load_base(self) -> None:
        """Have the stand-in under the base's name."""
        path = f"ENV PATH={_BASE_PATH}"
        self.podman("import", "--change", path, str(_base_file()), base_name())

    def build(self, *build_args: str, image: str = IMAGE) -> subprocess.CompletedProcess[str]:
        """Build the project's image with this machine's own pip settings; it may fail."""
        text, bundle = _pip_settings()
        settings = self.directory / "pip.conf"
        settings.write_text(text)
        command = [
            *("buildah", "bud", "--format", "docker", "--pull-never", "--isolation", "chroot"),
            *("--network", "host", "--tag", image),
            *(f"--volume={settings}:/etc/pip.conf:ro", f"--volume={bundle}"),
            *(f"--build-arg={argument}" for argument in build_args),
            str(ROOT),
        ]
        return _ended(command, env=self.environment, check=False)

    @contextmanager
    def files(self, image: str = IMAGE) -> Iterator[Path]:
        """The image's file system, for looking at."""
        mounted = self.podman("image", "mount", image).stdout.strip()
        try:
            yield Path(mounted)
        finally:
            self.podman("image", "unmount", image)


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine with an empty storage; at the end its containers, mounts and files are gone."""
    with _in_memory() as directory:
        made = Engine(directory)
        _write_settings(directory)
        try:
            yield made
        finally:
            made.podman("rm", "--all", "--force", "--time=0", check=False)


@contextmanager
def _in_memory() -> Iterator[Path]:
    """A folder in memory: dpkg waits for the disk after each file, and an image has thousands."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        _ended(["mount", "--types", "tmpfs", "--options", "size=3g,mode=0755", "tmpfs", name])
        try:
            yield Path(name)
        finally:
            _unmount(Path(name))


def _unmount(directory: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(directory):
            _ended(["umount", "--lazy", mount])


def base_name() -> str:
    """The base that the Dockerfile names, without a digest."""
    found = re.search(r"^ARG PYTHON=([^\s@]+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert found
    return found[1]


def _write_settings(directory: Path) -> None:
    (directory / "tmp").mkdir()
    (directory / "storage.conf").write_text(
        '[storage]\ndriver = "overlay"\n'
        f'graphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n'
    )
    (directory / "containers.conf").write_text(
        # Raising the limits, as podman does of itself, needs CAP_SYS_RESOURCE.
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'tmp_dir = "{directory}/libpod"\nlock_type = "file"\n'
    )


def _pip_settings() -> tuple[str, str]:
    """This machine's way to its package index as a pip.conf, and the mount that it needs."""
    listed = _ended([sys.executable, "-m", "pip", "config", "list"]).stdout
    chosen: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in _PIP_SETTINGS:
            chosen[name] = value.strip("'\"")
    bundle = chosen.setdefault("cert", "/etc/ssl/certs/ca-certificates.crt")
    lines = ["[global]", *(f"{name} = {value}" for name, value in chosen.items()), ""]
    return "\n".join(lines), f"{bundle}:{bundle}:ro"


# --- the stand-in -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Interpreter:
    """Where a CPython of this machine has its parts."""

    version: str
    executable: Path
    standard_library: Path
    shared: list[Path]
    pip: Path


def _base_file() -> Path:
    """The stand-in as a tar file; made once for all workers and sessions, and kept."""
    interpreter = _interpreter()
    steps = [inspect.getsource(step) for step in (_make_base, _install_python)]
    recipe = repr((steps, _LIBRARIES, _NOT_IN_THE_BASE, interpreter, platform.machine()))
    key = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "coordinator-tests")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = cache / f"base-{key}.tar"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            for outdated in cache.glob("base-*"):
                outdated.unlink()
            _make_base(interpreter, kept)
    return kept


def _make_base(interpreter: _Interpreter, target: Path) -> None:
    with _in_memory() as directory:
        tree = directory / "tree"
        packages = f"--include={_LIBRARIES}"
        mirror = _debian_mirror()
        _ended(["debootstrap", "--variant=minbase", packages, _SUITE, str(tree), mirror])
        _install_python(interpreter, tree)
        unfinished = target.with_suffix(".unfinished")
        without = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*", "./var/lib/apt/lists/*")
        excluded = [f"--exclude={path}" for path in without]
        archive = ("tar", "--create", "--numeric-owner", f"--file={unfinished}")
        _ended([*archive, f"--directory={tree}", *excluded, "."])
        unfinished.rename(target)


def _install_python(interpreter: _Interpreter, tree: Path) -> None:
    name = f"python{interpreter.version}"
    bin_dir, lib_dir = tree / "usr/local/bin", tree / "usr/local/lib"
    shutil.copy2(interpreter.executable, bin_dir / name)
    (bin_dir / "python3").symlink_to(name)
    (bin_dir / "python").symlink_to("python3")
    for library in interpreter.shared:
        shutil.copy2(library, lib_dir, follow_symlinks=False)
    _ended(
        ["cp", "--archive", f"{interpreter.standard_library}/.", str(lib_dir / name)],
    )
    for pattern in _NOT_IN_THE_BASE:
        for path in list((lib_dir / name).rglob(pattern)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(
                missing_ok=True
            )
    binaries = [bin_dir / name, *lib_dir.rglob("*.so*")]
    _ended(["strip", "--strip-all", *(str(path) for path in binaries if not path.is_symlink())])
    _ended(["chroot", str(tree), "ldconfig"])
    ask = "import site; print(site.getsitepackages()[0])"
    packages = _ended(["chroot", str(tree), f"/usr/local/bin/{name}", "-c", ask]).stdout.strip()
    with zipfile.ZipFile(interpreter.pip) as wheel:
        wheel.extractall(tree / packages.lstrip("/"))
    pip = bin_dir / "pip"
    pip.write_text("#!/usr/local/bin/python3\nfrom pip._internal.cli.main import main\nmain()\n")
    pip.chmod(0o755)


def _interpreter() -> _Interpreter:
    """The base's Python if this machine has it, else the one that runs the tests."""
    wanted = re.search(r":(3\.\d+)", base_name())
    assert wanted
    name = f"python{wanted[1]}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    installed = sorted(pyenv.glob(f"{wanted[1]}.*/bin/{name}"))
    program = str(installed[-1]) if installed else a_working(name) or sys.executable
    ask = (
        "import json, sys, sysconfig; print(json.dumps(["
        "sys.base_prefix, '%d.%d' % sys.version_info[:2], sysconfig.get_path('stdlib')]))"
    )
    prefix, version, library = json.loads(_ended([program, "-I", "-c", ask]).stdout)
    shared = sorted(Path(prefix, "lib").glob("libpython3*.so*"))
    wheels = [Path(library, "ensurepip", "_bundled"), Path("/usr/share/python-wheels")]
    (pip,) = [wheel for place in wheels for wheel in place.glob("pip-*.whl")][:1]
    executable = Path(prefix, "bin", f"python{version}")
    return _Interpreter(version, executable, Path(library), shared, pip)


def _debian_mirror() -> str:
    """Where this machine gets its Debian packages from."""
    wanted = ["--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    for line in _ended(["apt-get", "indextargets", *wanted]).stdout.splitlines():
        suite, _, address = line.partition(" ")
        if suite == _SUITE:
            return address
    pytest.skip(f"apt knows no source for Debian {_SUITE}")


def _ended(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if check and done.returncode != 0:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        raise AssertionError(f"exit code {done.returncode} of {command}:\n{said}")
    return done
