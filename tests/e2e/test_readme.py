"""The README does what it says: its tutorial is run here, block by block."""

import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import asyncpg

from tests.support.processes import running
from tests.support.readme import README, blocks
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
A_MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def the_first_terminal(folder: Path) -> AsyncIterator[str]:
    """Run `coordinator dev` as the tutorial says, and yield the DSN it prints."""
    first, *_ = blocks("Five minutes", "sh")
    assert first.strip() == "coordinator dev"
    async with running([str(BIN / "coordinator"), "dev"], cwd=folder) as dev:

        async def printed() -> str | None:
            found = re.search(r"export DATABASE_URL=(.+)", dev.stdout)
            return shlex.split(found[1])[0] if found else None

        dsn = await eventually(printed, within=A_MINUTE)
        assert dsn
        yield dsn
        dev.kill(signal.SIGTERM)  # and wait: it still writes into the folder while it stops
        await dev.wait()


async def bash(script: str, folder: Path, dsn: str) -> str:
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "DATABASE_URL": dsn, "HOME": str(folder)}
    done = await anyio.run_process(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


async def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (agent,) = blocks("Five minutes", "python")
    (folder / "reviewer.py").write_text(agent)
    _, begin, wait, look = blocks("Five minutes", "sh")
    async with the_first_terminal(folder) as dsn:
        # The agent in the background must end with the test, and must not hold its pipe open.
        quiet = begin.replace(
            "python reviewer.py &", "python reviewer.py > agent.log 2>&1 & echo $! > pid"
        )
        handed = await bash(quiet, folder, dsn)
        listed = await bash(wait, folder, dsn)
        happened = await bash(look, folder, dsn)
        await bash("kill $(cat pid)", folder, dsn)

    assert "fine" in handed
    assert "tester" in listed
    for event in (
        "agent.registered",
        "handoff.dispatched",
        "handoff.accepted",
        "handoff.succeeded",
    ):
        assert event in happened


async def test_the_plain_sql_of_the_tutorial_is_an_agent(tmp_path: Path) -> None:
    (sql,) = blocks("Five minutes", "sql")
    register, look, beat, complete, free = _statements(sql)
    async with the_first_terminal(tmp_path) as dsn:
        agent = await asyncpg.connect(dsn)
        try:
            await agent.execute(
                "insert into handoffs (from_agent, to_agent, task_description)"
                " values ('me', 'tester', 'test it')"
            )
            await agent.execute(register)

            async def dispatched() -> bool:
                return bool(await agent.fetch(look))

            await eventually(dispatched, within=A_MINUTE)
            await agent.execute(beat)
            assert await agent.execute(complete) == "UPDATE 1"
            assert await agent.execute(free) == "UPDATE 1"
            assert await agent.fetchval("select outcome from handoffs") == "succeeded"
        finally:
            await agent.close()


def _statements(sql: str) -> list[str]:
    without_comments = re.sub(r"--.*", "", sql)
    return [part.strip() for part in without_comments.split(";") if part.strip()]


def test_the_readme_names_only_files_that_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_names_only_targets_that_make_knows() -> None:
    targets = set(re.findall(r"make ([a-z-]+)", README))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert {"demo", "test", "check", "help"} <= targets & known
    assert targets <= known
