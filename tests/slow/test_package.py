"""The wheel on a clean machine: built from a copy, installed outside the tree, used from there.

Each Python that is at hand gets an empty virtual environment. Debian 12 has 3.11 alone, and PyPI no
interpreters; others are found on the PATH and where pyenv puts them.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import coordinator
from coordinator.store.halves import Half
from coordinator.store.migrations import migrations
from tests.support.commands import Ended
from tests.support.postgres import Database
from tests.support.processes import running

pytestmark = [pytest.mark.slow, pytest.mark.release, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
SUPPORTED = ("3.11", "3.12", "3.13")
WHERE_PYENV_IS = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
TREE = ("src", "schema", "docs", "examples", "deploy", "tests")
FILES = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt")
LONG = timedelta(minutes=2)
CONSTRAINTS = ROOT / "constraints.txt"
WITHOUT_POSTGRESQL = (
    *("unshare", "--mount", "sh", "-c"),
    '[ ! -d /usr/lib/postgresql ] || mount -t tmpfs none /usr/lib/postgresql; exec "$@"',
    "sh",
)
"""What a command begins with that is not to see the servers of this machine."""

COMPLETING: Mapping[str, Sequence[str]] = {
    "bash": (
        "--norc",
        "-c",
        """
        source ./_coordinator
        COMP_WORDS=(coordinator he) COMP_CWORD=1
        read -r _ _ _ _ offer _ < <(complete -p coordinator)
        "$offer" coordinator he coordinator
        printf '%s\\n' "${COMPREPLY[@]}"
        """,
    ),
    "fish": ("--no-config", "-c", "source ./_coordinator; complete -C 'coordinator he'"),
    # Only a terminal completes there: one is made, and the tabulator is struck.
    "zsh": (
        "-f",
        "-c",
        r"""
        zmodload zsh/zpty
        zpty -b shell zsh -f -i
        zpty -w shell 'PS1=; fpath=($PWD $fpath); autoload -U compinit; compinit -u -D'
        zpty -w shell $'echo rea\'\'dy'
        while zpty -r shell line && [[ $line != ready* ]]; do :; done
        zpty -n -w shell $'coordinator he\t'
        integer tries=200
        while (( tries-- )) && [[ $seen != *health* ]]; do
          zpty -r -t shell line && seen+=$line || sleep 0.05
        done
        print -r -- $seen
        """,
    ),
}
"""What makes a shell show how it completes `coordinator he`."""

FITS = """
from coordinator.agents import Agent, HeldHandoff, NewHandoff
task: NewHandoff = NewHandoff(to_agent="ada", task_description="do it")
async def work(handoff: HeldHandoff, agent: Agent) -> None: handoff.succeed({"by": agent.name})
"""
MISFITS = """
from coordinator.agents import Agent, NewHandoff
task = NewHandoff(to_agent=1, task_description="do it")
async def work(agent: Agent) -> int: return agent.name
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this machine."""

    version: str
    program: str


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with the wheel and its extra `demo`, and a folder to work in."""

    interpreter: Interpreter
    folder: Path
    elsewhere: Path

    async def run(self, *command: str, on: Database | None = None) -> Ended:
        """Run one of its programs to its end, outside the tree; no other program is found."""
        return await self._run([self.folder / "bin" / command[0], *command[1:]], on=on)

    async def run_without_postgresql(self, *command: str) -> Ended:
        """The same where no server is installed."""
        return await self._run(
            [*WITHOUT_POSTGRESQL, str(self.folder / "bin" / command[0]), *command[1:]]
        )

    async def _run(self, command: Sequence[str | Path], *, on: Database | None = None) -> Ended:
        env = {"PYTHONPATH": "", "PATH": "/bin:/sbin", **({"DATABASE_URL": on.dsn} if on else {})}
        async with running(command, env=env, cwd=self.elsewhere) as process:
            code = await process.wait(within=LONG)
            return Ended(code, process.stdout, process.stderr)


def _found(version: str) -> Interpreter | None:
    candidates = [
        shutil.which(f"python{version}"),
        *WHERE_PYENV_IS.glob(f"{version}.*/bin/python{version}"),
    ]
    for program in candidates:
        # A shim of pyenv is found, and ends with 127 where its version is not chosen.
        if program and subprocess.run([program, "-c", "import venv"], check=False).returncode == 0:
            return Interpreter(version, str(program))
    return None


AT_HAND = [found for found in map(_found, SUPPORTED) if found is not None]


# --- what is built --------------------------------------------------------------------------------


def test_the_wheel_made_from_the_tree_and_from_the_sdist_is_the_same(
    copy: Path, distributions: Path, tmp_path: Path
) -> None:
    build(copy, "--wheel", to=tmp_path)

    assert wheel_in(tmp_path).read_bytes() == wheel_in(distributions).read_bytes()


def test_the_wheel_carries_both_halves_of_the_schema_the_types_the_manual_and_the_licence(
    distributions: Path,
) -> None:
    with zipfile.ZipFile(wheel_in(distributions)) as wheel:
        names = set(wheel.namelist())
    files = [file.name for file in (ROOT / "schema/supabase/migrations").glob("*.sql")]

    assert any("_business_" in name for name in files)
    assert {f"coordinator/migrations/{name}" for name in files} <= names
    assert "coordinator/py.typed" in names
    assert {
        "coordinator/store/sql/dispatch.sql",
        "coordinator/store/catalog_business.json",
    } <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert any(name.endswith(".data/data/share/man/man1/coordinator.1") for name in names)
    assert not [
        name for name in names if not name.startswith(("coordinator/", "agent_coordinator-"))
    ]


def test_the_sdist_carries_what_the_tests_and_the_licence_need(distributions: Path) -> None:
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}

    assert {"LICENSE", "README.md", "pyproject.toml", "tests/conftest.py"} <= names
    assert not [name for name in names if "__pycache__" in name or ".venv" in name]


def test_the_metadata_tells_version_licence_pythons_and_extras(distributions: Path) -> None:
    metadata = metadata_of(wheel_in(distributions))

    assert metadata["Version"] == coordinator.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == f">={SUPPORTED[0]}"
    told = metadata.get_all("Classifier", [])
    assert {f"Programming Language :: Python :: {version}" for version in SUPPORTED} <= set(told)
    assert {"Typing :: Typed", "Framework :: AsyncIO"} <= set(told)
    assert {"demo", "mcp", "webhook"} <= set(metadata.get_all("Provides-Extra", []))
    plain = [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert plain
    assert not [one for one in plain if one.startswith(("embedded", "httpcore", "mcp"))]


def test_the_version_is_written_in_one_place() -> None:
    written = re.compile(rf'version\w*\s*=\s*"{re.escape(coordinator.__version__)}"', re.IGNORECASE)
    places = [
        str(file.relative_to(ROOT))
        for file in [*(ROOT / "src").rglob("*.py"), ROOT / "pyproject.toml"]
        if written.search(file.read_text())
        or f'__version__ = "{coordinator.__version__}"' in file.read_text()
    ]

    assert places == ["src/coordinator/__init__.py"]


# --- what is installed ----------------------------------------------------------------------------


async def test_the_version_names_schema_and_servers(environment: Environment) -> None:
    shown = await environment.run("coordinator", "--version", "--json")

    assert shown.code == 0, shown
    assert shown.data["version"] == coordinator.__version__
    assert shown.data["schema_version"] == migrations(Half.COORDINATION)[-1].version
    assert shown.data["servers"] == [15, 16, 17, 18]


async def test_migrate_and_doctor_work_from_outside_the_tree(
    environment: Environment, fresh_database: Database
) -> None:
    migrated = await environment.run("coordinator", "migrate", on=fresh_database)
    examined = await environment.run("coordinator", "doctor", "--json", on=fresh_database)

    assert migrated.code == 0, migrated
    assert (examined.code, examined.data) == (0, {"findings": []})


async def test_the_demo_runs_with_its_extra_where_no_postgresql_is_installed(
    environment: Environment,
) -> None:
    shown = await environment.run_without_postgresql("coordinator", "demo")

    assert shown.code == 0, shown
    assert "attempt 2: antigravity" in shown.out, shown


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("demo", ["demo"]),
        ("mcp", ["mcp", "--agent", "ada"]),
        ("webhook", ["agent", "webhook", "--name", "ada"]),
    ],
)
async def test_without_the_extra_the_error_names_it(
    bare_environment: Environment, extra: str, command: list[str]
) -> None:
    refused = await bare_environment.run_without_postgresql("coordinator", *command, "--json")

    assert refused.code == 78, refused
    assert f"pip install 'agent-coordinator[{extra}]'" in refused.error["next"]


@pytest.mark.parametrize(("program", "code"), [(FITS, 0), (MISFITS, 1)], ids=["fits", "misfits"])
async def test_the_types_travel_with_the_wheel(
    environment: Environment, tmp_path: Path, program: str, code: int
) -> None:
    (tmp_path / "program.py").write_text(program)
    python = environment.folder / "bin" / "python"
    options = ("--strict", "--cache-dir", tmp_path / "cache", "--python-executable", python)

    async with running(
        [sys.executable, "-m", "mypy", *options, "program.py"], cwd=tmp_path
    ) as checking:
        assert await checking.wait(within=LONG) == code, str(checking)
        if code:
            assert "[arg-type]" in checking.stdout
            assert "[return-value]" in checking.stdout


@pytest.mark.parametrize("shell", COMPLETING)
async def test_a_shell_completes_its_commands(
    bare_environment: Environment, tmp_path: Path, shell: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"apt-get install {shell}")
    script = await bare_environment.run("coordinator", "completions", shell)
    (tmp_path / "_coordinator").write_text(script.out)
    path = f"{bare_environment.folder / 'bin'}:{os.environ['PATH']}"

    async with running(
        [shell, *COMPLETING[shell]], cwd=tmp_path, env={"PATH": path, "TERM": "dumb"}
    ) as completing:
        assert await completing.wait(within=LONG) == 0, str(completing)
        assert "health" in completing.stdout, str(completing)


@pytest.mark.parametrize("tool", ["pipx", "uv tool", "uvx"])
async def test_a_tool_installs_it_into_an_environment_of_its_own(
    tools: Path, distributions: Path, tmp_path: Path, tool: str
) -> None:
    wheel, bin_ = wheel_in(distributions), tmp_path / "bin"
    commands: dict[str, list[str | Path]] = {
        "pipx": [
            "pipx",
            "install",
            "--pip-args",
            f"--constraint {shlex.quote(str(CONSTRAINTS))}",
            wheel,
        ],
        "uv tool": ["uv", "tool", "install", "--constraints", CONSTRAINTS, wheel],
        "uvx": ["uvx", "--constraints", CONSTRAINTS, "--from", wheel, "coordinator", "--version"],
    }
    program, *arguments = map(str, commands[tool])
    env = {
        **{name: str(tmp_path / name) for name in ("PIPX_HOME", "PIPX_MAN_DIR", "UV_TOOL_DIR")},
        **dict.fromkeys(("PIPX_BIN_DIR", "UV_TOOL_BIN_DIR"), str(bin_)),
        "UV_PYTHON": AT_HAND[-1].program,
        "PIPX_DEFAULT_PYTHON": AT_HAND[-1].program,
        "PYTHONPATH": "",
        **what_pip_is_told(),
    }

    async with running([tools / program, *arguments], env=env, cwd=tmp_path) as installing:
        assert await installing.wait(within=LONG) == 0, str(installing)
        shown = installing.stdout
    if tool != "uvx":
        async with running([bin_ / "coordinator", "--version"], cwd=tmp_path) as process:
            assert await process.wait(within=LONG) == 0, str(process)
            shown = process.stdout
    assert shown.startswith(f"coordinator {coordinator.__version__}\nschema 2")


# --- fixtures -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree without what work leaves in it."""
    place = tmp_path_factory.mktemp("copy")
    for name in TREE:
        left = shutil.ignore_patterns("__pycache__", "node_modules", ".venv")
        shutil.copytree(ROOT / name, place / name, ignore=left)
    for name in FILES:
        shutil.copy(ROOT / name, place)
    return place


@pytest.fixture(scope="module")
def distributions(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is made from it."""
    place = tmp_path_factory.mktemp("dist")
    build(copy, to=place)
    return place


@pytest.fixture(scope="module", params=AT_HAND, ids=lambda python: f"python{python.version}")
def environment(
    request: pytest.FixtureRequest,
    distributions: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Environment:
    """An environment of each Python that is at hand, with the extra."""
    place = tmp_path_factory.mktemp("installed")
    return install(request.param, f"{wheel_in(distributions)}[demo]", place)


@pytest.fixture(scope="module")
def bare_environment(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One without the extra."""
    place = tmp_path_factory.mktemp("bare")
    return install(AT_HAND[-1], str(wheel_in(distributions)), place)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of uv and pipx."""
    place = tmp_path_factory.mktemp("tools")
    run(sys.executable, "-m", "venv", place)
    run(place / "bin" / "python", "-m", "pip", "install", "--quiet", "uv", "pipx")
    return place / "bin"


def install(interpreter: Interpreter, what: str, place: Path) -> Environment:
    """Make an empty virtual environment, and install there with pip."""
    folder, elsewhere = place / "venv", place / "elsewhere"
    elsewhere.mkdir()
    run(interpreter.program, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    run(*pip, "--constraint", CONSTRAINTS, what)
    return Environment(interpreter, folder, elsewhere)


def build(tree: Path, *what: str, to: Path) -> None:
    """Build with the pinned backend."""
    run(sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", to, tree)


def run(*command: str | Path) -> str:
    """Run a command that must succeed, with nothing of this tree on its path."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd="/")
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def wheel_in(folder: Path) -> Path:
    """The one wheel there."""
    [wheel] = folder.glob("*.whl")
    return wheel


def metadata_of(wheel: Path) -> Message:
    """What it tells of itself."""
    with zipfile.ZipFile(wheel) as packed:
        [name] = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(packed.read(name).decode())


def what_pip_is_told() -> dict[str, str]:
    """Tell uv the index and the certificates that pip is configured with."""
    told = run(sys.executable, "-m", "pip", "config", "list")
    found = dict(re.findall(r"^[^.\n]+\.([a-z-]+)='(.*)'$", told, re.MULTILINE))
    names = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    return {variable: found[key] for key, variable in names.items() if key in found}
