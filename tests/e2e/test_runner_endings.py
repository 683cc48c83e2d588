"""`coordinator agent run`: what ends a command, and that all of it ends."""

import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.daemon.daemons import QUICK_SILENCE, QUICK_SWEEP, leader
from tests.support.postgres import Database
from tests.support.runner import appears, is_gone, is_running, python, runner, says
from tests.support.sdk import Desk, desk_at

FAMILY = python(
    "import json, os, signal, subprocess, sys, time\n"
    "deaf = 'import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);'"
    " 'print(1, flush=True); time.sleep(600)'\n"
    "def child(**how):\n"
    "    it = subprocess.Popen([sys.executable, '-c', deaf], stdout=subprocess.PIPE, **how)\n"
    "    it.stdout.readline()\n"
    "    return it.pid\n"
    "pids = [os.getpid(), child(), child(start_new_session=True)]\n"
    "folder = os.path.dirname(os.environ['COORDINATOR_CONTEXT_FILE'])\n"
    "name = json.load(open(folder + '/handoff.json'))['task_description']\n"
    "with open(sys.argv[1] + name + os.environ['COORDINATOR_ATTEMPT'], 'w') as file:\n"
    "    print(json.dumps([pids, folder]), file=file)\n"
    "time.sleep(600)\n"
)
"""Two children that ignore TERM, one in a session of its own."""


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """A desk at a database that a daemon works on."""
    async with leader(database, QUICK_SWEEP), desk_at(database) as desk:
        yield desk


async def family(place: Path, task: str = "do it") -> tuple[list[int], Path]:
    """The running processes of a first attempt, and its private folder."""
    pids, folder = json.loads(await appears(place / f"{task}1"))
    assert all(map(is_running, pids))
    return pids, Path(folder)


async def test_nothing_is_left_of_a_command_whose_time_is_up(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    options = ("--timeout", "1s", "--grace", "200ms")
    async with runner(database, *options, command=(*FAMILY, f"{tmp_path}/")):
        handoff_id = await desk.put(max_attempts=1)
        processes, folder = await family(tmp_path)
        row = await desk.reaches(handoff_id, outcome="failed")

        # Whoever is told of the end finds that it has ended.
        assert not any(map(is_running, processes))
        assert not folder.exists()

    assert row["last_error"] == "the command ran longer than its --timeout"


async def test_a_command_ends_with_its_attempt(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    command = (*FAMILY, f"{tmp_path}/")
    async with runner(database, "--grace", "200ms", command=command) as process:
        handoff_id = await desk.put(task="cancelled")
        processes, _ = await family(tmp_path, "cancelled")
        await desk.sql.execute("select cancel_handoff($1, 'enough')", handoff_id)
        await desk.reaches(handoff_id, outcome="cancelled")
        assert not any(map(is_running, processes))

        handoff_id = await desk.put(task="overdue")
        processes, _ = await family(tmp_path, "overdue")
        await desk.sql.execute("update handoffs set deadline_at = now() where id = $1", handoff_id)
        await desk.reaches(handoff_id, outcome="failed")
        for pid in processes:
            await is_gone(pid)

        handoff_id = await desk.put(task="lost", max_attempts=1)
        processes, _ = await family(tmp_path, "lost")
        await desk.take_back(handoff_id)
        for pid in processes:
            await is_gone(pid)
        await says(process, f"{handoff_id} attempt 1: lost")
        told = process.stdout

    assert [line.rpartition(" ")[2] for line in told.splitlines()] == ["cancelled", "lost", "lost"]


async def test_a_killed_runner_leaves_no_command_and_loses_no_work(
    database: Database, tmp_path: Path
) -> None:
    async with leader(database, QUICK_SILENCE), desk_at(database) as desk:
        async with runner(
            database, "--grace", "200ms", command=(*FAMILY, f"{tmp_path}/")
        ) as process:
            handoff_id = await desk.put()
            processes, folder = await family(tmp_path)
            process.kill(signal.SIGKILL)
            for pid in processes:
                await is_gone(pid)

        async with runner(
            database, command=python("import os; print(os.environ['COORDINATOR_ATTEMPT'])")
        ):
            row = await desk.reaches(handoff_id, outcome="succeeded")

    assert row["result"] == 2
    assert not folder.exists()


async def test_a_runner_that_is_stopped_hands_back_what_does_not_end(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    async with runner(database, "--grace", "200ms", command=(*FAMILY, f"{tmp_path}/")) as process:
        handoff_id, waiting = await desk.put(), await desk.put()
        processes, folder = await family(tmp_path)
        process.kill(signal.SIGTERM)

        assert await process.wait() == 0
        assert not any(map(is_running, processes))

    row = await desk.row(handoff_id)
    assert (row["status"], row["attempt"]) == ("pending", 1)
    assert row["last_error"] == "the runner was asked to stop"
    assert row["due"]
    assert (await desk.row(waiting))["attempt"] == 0
    assert (await desk.agent())["blocked_reason"] == "left"
    assert not folder.exists()


async def test_a_runner_that_is_stopped_lets_a_command_end_and_a_second_signal_does_not(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    go_on, mark = tmp_path / "go on", tmp_path / "mark"
    os.mkfifo(go_on)
    command = python(
        "import sys\nopen(sys.argv[1], 'w').write('begun\\n')\nprint(open(sys.argv[2]).read())\n",
        *(str(mark), str(go_on)),
    )
    async with runner(database, "--grace", "60s", command=command) as process:
        handoff_id = await desk.put()
        await appears(mark)
        process.kill(signal.SIGTERM)
        go_on.write_text("in time")
        assert await process.wait() == 0

    mark.unlink()
    async with runner(database, "--grace", "60s", command=command) as process:
        given_back = await desk.put()
        await appears(mark)
        process.kill(signal.SIGINT)
        process.kill(signal.SIGTERM)
        assert await process.wait(within=timedelta(seconds=15)) == 0

    assert (await desk.row(handoff_id))["result"] == {"output": "in time\n"}
    assert (await desk.row(given_back))["last_error"] == "the runner was asked to stop"


@pytest.mark.slow
async def test_a_runner_is_stopped_while_the_database_is_away(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    login = await desk.login()
    options = ("--grace", "200ms")
    env = {"DATABASE_URL": database.dsn_as(login)}
    async with runner(database, *options, command=(*FAMILY, f"{tmp_path}/"), env=env) as process:
        await desk.put()
        processes, _ = await family(tmp_path)
        async with desk.outage(login):
            process.kill(signal.SIGTERM)

            assert await process.wait(within=timedelta(seconds=60)) == 0
        assert not any(map(is_running, processes))


async def test_a_service_manager_may_ask_all_processes_at_once(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    script = (
        "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()}\\n'); time.sleep(99)"
    )
    async with runner(database, command=python(script, str(pid))) as process:
        handoff_id = await desk.put()
        os.kill(int(await appears(pid)), signal.SIGTERM)
        process.kill(signal.SIGTERM)
        assert await process.wait() == 0

    row = await desk.row(handoff_id)
    assert row["status"] == "pending"
    assert row["last_error"] == "the runner was asked to stop: signal 15 (SIGTERM)"


async def test_what_a_command_leaves_behind_ends_with_it(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    # A daemon, as one makes them: its parent has ended, and it holds stdout.
    script = (
        "import os, signal, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        open(sys.argv[1], 'w').write(f'{os.getpid()}\\n')\n"
        "        time.sleep(600)\n"
        "    os._exit(0)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "print('left it behind')\n"
    )
    pid = tmp_path / "pid"
    options = ("--timeout", "2s", "--grace", "3s")
    async with runner(database, *options, command=python(script, str(pid))):
        # It was through before its time was up, however long the rest takes to end.
        row = await desk.reaches(await desk.put(), status="completed")

        assert not is_running(int(await appears(pid)))

    assert row["result"] == {"output": "left it behind\n"}
