"""`coordinator agent run`: what a wrapped command gets, and what becomes of what it answers."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.daemon.daemons import leader
from tests.support.commands import ended
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, RunningProcess
from tests.support.runner import python, runner, says
from tests.support.sdk import Desk, desk_at

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

OBEY = python(
    "import json, os, sys, time\n"
    "exec(json.load(open(os.environ['COORDINATOR_CONTEXT_FILE']))['task_description'])\n"
)
"""The task is Python code."""


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """A desk at a database that a daemon works on."""
    async with leader(database), desk_at(database) as desk:
        yield desk


async def answer_of(desk: Desk, task: str) -> tuple[str, object, str | None]:
    row = await desk.reaches(await desk.put(task=task, max_attempts=2), status="completed")
    return row["outcome"], row["result"], row["last_error"]


async def test_the_exit_code_decides(database: Database, desk: Desk) -> None:
    await desk.no_pause_before_retries()
    async with runner(database, command=OBEY) as process:
        assert await answer_of(desk, "print('{\"a\": [1]}')") == ("succeeded", {"a": [1]}, None)
        assert await answer_of(desk, "print('two\\nlines')") == (
            "succeeded",
            {"output": "two\nlines\n"},
            None,
        )
        assert await answer_of(desk, "pass") == ("succeeded", None, None)
        assert await answer_of(desk, "sys.exit('no such file')") == (
            "failed",
            None,
            "exit code 1: no such file",
        )
        assert await answer_of(desk, "os.kill(os.getpid(), 11)") == (
            "failed",
            None,
            "signal 11 (SIGSEGV)",
        )
        assert await answer_of(
            desk, "sys.exit(75 if os.environ['COORDINATOR_ATTEMPT'] == '1' else 0)"
        ) == ("succeeded", None, "exit code 75")
        assert await answer_of(desk, "os.write(1, bytes(range(128, 256)) + b'\\0')") == (
            "succeeded",
            {"output": "\ufffd" * 129},
            None,
        )
        # The schema's limit may be lower than what a result is cut to.
        await desk.sql.execute("update coordination_settings set max_content_bytes = 2000")
        outcome, _, why = await answer_of(desk, "print('x' * 3000)")
        assert (outcome, "the limit is 2000" in str(why)) == ("failed", True)
        assert "the limit is 2000" in process.stderr

        process.kill(signal.SIGTERM)
        assert await process.wait() == 0
        told = process.stdout.splitlines()

    assert [line.partition(" ")[2] for line in told] == [
        "attempt 1: succeeded",
        "attempt 1: succeeded",
        "attempt 1: succeeded",
        "attempt 1: failed",
        "attempt 1: failed",
        "attempt 1: retry",
        "attempt 2: succeeded",
        "attempt 1: succeeded",
        "attempt 1: retry",
        "attempt 2: retry",
    ]
    assert (await desk.agent())["blocked_reason"] == "left"


async def test_a_command_finds_the_prompt_the_file_and_its_environment(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    script = (
        "import json, os, sys, stat\n"
        "file = os.environ['COORDINATOR_CONTEXT_FILE']\n"
        "modes = [oct(stat.S_IMODE(os.stat(p).st_mode)) for p in (file, os.path.dirname(file))]\n"
        "print(json.dumps({'prompt': sys.stdin.read(), 'environ': dict(os.environ),\n"
        "    'file': json.load(open(file)), 'modes': modes, 'cwd': os.getcwd(),\n"
        "    'leader': os.getsid(0) == os.getpgrp() == os.getpid()}))\n"
    )
    secrets = {"PGPASSWORD": "geheim", "CREDENTIALS_DIRECTORY": str(tmp_path), "MINE": "kept"}
    options = ("--role", "reviewer", "--cwd", str(tmp_path))
    async with runner(database, *options, command=python(script), env=secrets) as process:
        handoff_id = await desk.put("reviewer", "look", context={"a": "ö"}, traceparent=TRACE)
        row = await desk.reaches(handoff_id, outcome="succeeded")
        await says(process, f"{handoff_id} attempt 1: succeeded")
        told = process.stdout + process.stderr

    found = row["result"]
    environ = found["environ"]
    assert "\nlook\n----- end of task " in found["prompt"]
    assert 'from: "boss"\nto: "reviewer"\n' in found["prompt"]
    assert found["file"]["id"] == str(handoff_id)
    assert found["file"]["context"] == {"a": "ö"}
    assert (found["modes"], found["cwd"]) == (["0o600", "0o700"], str(tmp_path))
    assert found["leader"]
    ours = {key: value for key, value in environ.items() if key.startswith("COORDINATOR_")}
    assert ours == {
        "COORDINATOR_AGENT": "ada",
        "COORDINATOR_HANDOFF_ID": str(handoff_id),
        "COORDINATOR_ATTEMPT": "1",
        "COORDINATOR_CONTEXT_FILE": environ["COORDINATOR_CONTEXT_FILE"],
    }
    assert (environ["TRACEPARENT"], environ["MINE"]) == (TRACE, "kept")
    assert not {"DATABASE_URL", "PGPASSWORD", "CREDENTIALS_DIRECTORY"} & environ.keys()
    assert not Path(environ["COORDINATOR_CONTEXT_FILE"]).parent.exists()
    # What agents wrote is in no log.
    assert not [secret for secret in ("geheim", "look", "ö", "boss") if secret in told]


async def test_a_command_may_use_the_coordinator_itself(database: Database, desk: Desk) -> None:
    hand_on = ("handoffs", "create", "--from", "ada", "--to", "eve", "--task", "go on")
    command = (str(SCRIPT), *hand_on)
    async with runner(database, "--pass-env", "DATABASE_URL", command=command):
        first = await desk.put()
        row = await desk.reaches(first, outcome="succeeded")

    second = await desk.sql.fetchrow("select * from handoffs where to_agent = 'eve'")
    assert second is not None
    assert row["result"]["output"].strip() == str(second["id"])
    assert (second["parent_id"], second["hop"]) == (first, 1)


async def test_commands_that_treat_their_pipes_badly_are_only_commands(
    database: Database, desk: Desk
) -> None:
    large = "x" * 500_000
    async with runner(database, command=OBEY):
        # It neither reads its prompt nor keeps its pipes; the next one does not read either.
        assert await answer_of(desk, "[os.close(n) for n in (0, 1, 2)]") == (
            "succeeded",
            None,
            None,
        )
        assert await answer_of(desk, f"print('done')  # {large}") == (
            "succeeded",
            {"output": "done\n"},
            None,
        )


async def test_a_huge_output_does_not_grow_the_runner(database: Database, desk: Desk) -> None:
    async with runner(database, command=OBEY) as process:
        await answer_of(desk, "pass")
        before = _peak_kib(process)
        task = "for _ in range(100): sys.stdout.write('0123456789abcde\\n' * 65536)"
        outcome, result, _ = await answer_of(desk, task)
        grown = _peak_kib(process) - before

    assert outcome == "succeeded"
    assert isinstance(result, dict)
    assert result["left_out"] == 100 * 1024 * 1024 - 512 * 1024
    assert len(result["output"]) < 600_000
    assert grown < 16 * 1024


async def test_the_last_line_is_reported_as_progress(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    os.mkfifo(go_on)
    task = f"print('half way', flush=True); open({str(go_on)!r}).read()"
    async with runner(database, "--progress-every", "50ms", command=OBEY):
        handoff_id = await desk.put(task=task)
        await says_progress(desk, handoff_id, "half way")
        go_on.write_text("now")
        await desk.reaches(handoff_id, outcome="succeeded")

    assert (
        await desk.sql.fetchval(
            "select count(*) from coordination_events where event = 'handoff.progressed'"
        )
        == 1
    )


async def says_progress(desk: Desk, handoff_id: object, note: str) -> None:
    from tests.support.waiting import eventually

    async def probe() -> bool:
        return bool(
            await desk.sql.fetchval(
                "select exists (select from coordination_events where handoff_id = $1"
                " and event = 'handoff.progressed' and detail ->> 'note' = $2)",
                handoff_id,
                note,
            )
        )

    await eventually(probe)


SETTLE = """
import asyncio, asyncpg
mine = json.load(open(os.environ['COORDINATOR_CONTEXT_FILE']))
async def settle():
    link = await asyncpg.connect(os.environ['DATABASE_URL'])
    await link.execute(
        "select complete_handoff($1, $2, 'ada', $3, '\\"by tool\\"')",
        mine['id'], mine['attempt'], mine['held_by'])
    await link.close()
asyncio.run(settle())
"""


async def test_a_model_is_heard_by_its_result_or_its_tool_call_alone(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    late = f"{SETTLE}\ntime.sleep(1.5); open({str(mark)!r}, 'w').close()"
    by_tool = ("succeeded", "by tool", None)
    options = ("--profile", "claude", "--pass-env", "DATABASE_URL")
    async with runner(database, *options, command=OBEY) as process:
        assert await answer_of(
            desk, "print(json.dumps({'type': 'result', 'is_error': False, 'result': 'fine'}))"
        ) == ("succeeded", {"output": "fine"}, None)
        assert await answer_of(desk, "print('I am done.')") == (
            "failed",
            None,
            "exit code 0 without a result as JSON",
        )
        assert await answer_of(desk, SETTLE) == by_tool
        # A heartbeat finds that it is no longer ours, and the client may end in peace.
        assert await answer_of(desk, late) == by_tool
        assert (await answer_of(desk, "sys.exit(3)"))[0] == "failed"
        said = [line.rpartition(" ")[2] for line in process.stdout.splitlines()]

    assert said[:4] == ["succeeded", "failed", "settled", "settled"]
    assert mark.exists()
    assert not await desk.sql.fetchval(
        "select count(*) from coordination_events where event = 'handoff.settled_late'"
    )


async def test_once_ends_after_one_handoff_and_tells_of_it_as_json(
    database: Database, desk: Desk
) -> None:
    first, second = await desk.put(task="print(1)"), await desk.put(task="print(2)")
    async with runner(database, "--once", "--json", command=OBEY) as process:
        assert await process.wait() == 0
        told = process.stdout

    assert json.loads(told) == {
        "handoff_id": str(first),
        "attempt": 1,
        "outcome": "succeeded",
        "worktree": None,
        "trouble": None,
    }
    assert (await desk.row(second))["attempt"] == 0


async def test_a_command_that_has_gone_gives_the_work_back_and_ends_the_runner(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    command = tmp_path / "command"
    command.write_text(f"#!{sys.executable}\n")
    command.chmod(0o755)
    async with runner(database, command=(str(command),)) as process:
        command.unlink()
        handoff_id = await desk.put()
        assert await process.wait() == 78
        said = process.stderr

    row = await desk.row(handoff_id)
    assert (row["status"], row["last_error"]) == (
        "pending",
        "the command cannot be started: No such file or directory",
    )
    assert "cannot be started any more" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--name", "ada"], 64, "no COMMAND"),
        (["--name", "ada", "--", "no-such-command"], 64, "is not there"),
        (["--name", "ada", "--", "/etc/passwd"], 64, "may not be run"),
        (["--name", "ada", "--cwd", "/no/such", "--", "true"], 64, "--cwd"),
        (["--name", "ada", "--timeout", "0", "--", "true"], 64, "--timeout"),
        (["--name", "ada", "--worktree", "--cwd", "/", "--", "true"], 64, "git repository"),
        (["--", "true"], 64, "--name"),
        (["--name", "", "--", "true"], 65, "agent_name"),
        (["--name", "ada", "--role", "", "--", "true"], 65, "roles"),
    ],
)
async def test_bad_input_is_refused_before_anything_starts(
    database: Database, arguments: list[str], code: int, said: str
) -> None:
    refused = await ended("agent", "run", *arguments, on=database)

    assert refused.code == code, refused
    assert said in refused.err
    assert "Traceback" not in refused.err
    async with database.connect() as sql:
        assert await sql.fetchval("select count(*) from agent_status") == 0


async def test_without_a_database_it_says_so() -> None:
    without = await ended("agent", "run", "--name", "ada", "--", "true")
    nowhere = await ended(
        *("agent", "run", "--name", "ada", "--", "true"),
        env={"DATABASE_URL": "postgresql://someone:geheim@127.0.0.1:1/nothing"},
    )

    assert (without.code, nowhere.code) == (78, 69)
    assert "geheim" not in nowhere.err


async def test_another_process_of_this_name_ends_the_runner(database: Database, desk: Desk) -> None:
    async with runner(database, command=OBEY) as process:
        await desk.sql.execute("select register_agent('ada', gen_random_uuid())")

        assert await process.wait() == 65
        assert "another process has registered" in process.stderr


def _peak_kib(process: RunningProcess) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")
