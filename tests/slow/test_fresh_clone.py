"""The README's first commands, word by word, in a fresh clone: what a newcomer types.

What is cloned is the last commit: what is not committed does not reach a newcomer.
"""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from tests.support.processes import running
from tests.support.readme import blocks
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.release, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
LONG = timedelta(minutes=4)
BY_MAKE, BY_PIP, BY_UV = blocks("Set up", "sh")


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A clone in a folder with a space in its name."""
    place = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, place], check=True)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of uv's programs."""
    place = tmp_path_factory.mktemp("uv")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    return place / "bin"


async def test_one_command_of_make_shows_the_main_job(clone: Path) -> None:
    demo, test = (line.partition("#")[0].strip() for line in BY_MAKE.strip().splitlines())
    assert test == "make test"

    await shows_the_main_job(demo, clone)


async def test_three_commands_without_make_show_it_too(clone: Path) -> None:
    await shows_the_main_job(BY_PIP, clone)


async def test_so_does_one_of_uv(clone: Path, uv: Path) -> None:
    await shows_the_main_job(f"PATH={shlex.quote(str(uv))}:$PATH; {BY_UV}", clone)


async def test_one_command_leads_a_contributor_to_a_running_daemon(clone: Path) -> None:
    async with running(["make", "dev"], cwd=clone) as dev:

        async def exported() -> str | None:
            assert dev.process.poll() is None, dev
            found = re.search(r"export DATABASE_URL=(.+)", dev.stdout)
            return shlex.split(found[1])[0] if found else None

        dsn = await eventually(exported, within=LONG)
        connection = await asyncpg.connect(dsn)
        await connection.execute("insert into agent_status (agent_name) values ('ada')")
        await connection.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " values ('me', 'ada', 'greet')"
        )

        async def is_dispatched() -> bool:
            return bool(await connection.fetchval("select bool_or(attempt = 1) from handoffs"))

        await eventually(is_dispatched)
        connection.terminate()

        dev.kill(signal.SIGTERM)  # which make hands on

        await dev.wait()
    assert list(clone.glob(".coordinator/**/PG_VERSION"))
    assert not list(clone.glob(".coordinator/**/postmaster.pid"))


async def shows_the_main_job(script: str, clone: Path) -> None:
    """Run it as a newcomer's shell does; it must end well, and a crash be survived in it."""
    async with running(["bash", "-euc", script], cwd=clone) as process:
        assert await process.wait(within=LONG) == 0, str(process)
        assert "attempt 2: antigravity" in process.stdout, str(process)
