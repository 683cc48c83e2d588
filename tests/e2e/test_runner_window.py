"""An MCP server inside a wrapped command: it speaks as the runner's agent, through the runner."""

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from coordinator.agents.wire import LONGEST_LINE
from tests.integration.daemon.daemons import leader
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, coordinator
from tests.support.runner import READY, appears, python, runner, says
from tests.support.sdk import Desk, desk_at
from tests.support.waiting import eventually

SOON = timedelta(seconds=20)
CLIENT = """
import asyncio, json, os, sys
from pathlib import Path
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

handoff = json.loads(Path(os.environ["COORDINATOR_CONTEXT_FILE"]).read_text())
token = {"handoff_id": handoff["id"], "attempt": handoff["attempt"]}
names = ("COORDINATOR_AGENT", "COORDINATOR_SOCKET")
server = StdioServerParameters(
    command=sys.executable,
    args=["-P", "-m", "coordinator", "mcp", "--agent", "somebody-else"],
    env={name: value for name, value in os.environ.items()
         if name in names or name.startswith("COVERAGE_")},
)

async def main():
    async with Client(stdio_client(server, errlog=sys.stderr)) as client:
        async def call(tool, **arguments):
            answer = await client.call_tool(tool, arguments)
            return json.loads(answer.content[0].text)
        body = "\\n" + handoff["task_description"]
        exec("async def task(call, token):" + body.replace("\\n", "\\n "), globals())
        await task(call, token)

asyncio.run(main())
"""
"""A client whose model does what its task says: it is Python, with `call` and `token`."""


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """A desk at a database that a daemon works on."""
    async with leader(database), desk_at(database) as desk:
        yield desk


def client() -> tuple[str, ...]:
    return python(CLIENT)


@pytest.mark.slow
async def test_a_client_settles_its_handoff_by_a_tool_and_needs_no_way_to_the_database(
    database: Database, desk: Desk
) -> None:
    task = (
        "assert 'DATABASE_URL' not in os.environ\n"
        "shown = await call('wait_for_handoff')\n"
        "assert shown['found'] == 'under_way', shown\n"
        "await call('report_progress', **token, note='half way')\n"
        "onward = [{'to': 'eve', 'task': 'go on'}]\n"
        "await call('complete_handoff', **token, result=[1, 2], follow_ups=onward)\n"
    )
    async with runner(database, "--profile", "claude", command=client()) as process:
        handoff_id = await desk.put(task=task)
        row = await desk.reaches(handoff_id, status="completed")
        await says(process, "settled")
        second = await desk.reaches(await desk.put(task=task), status="completed")

    assert (row["outcome"], row["result"]) == ("succeeded", [1, 2])
    assert (second["outcome"], second["attempt"]) == ("succeeded", 1)
    onward = await desk.sql.fetchrow("select * from handoffs where parent_id = $1", handoff_id)
    assert onward is not None
    assert (onward["from_agent"], onward["to_agent"], onward["hop"]) == ("ada", "eve", 1)
    names = await desk.sql.fetch("select agent_name from agent_status")
    assert [name["agent_name"] for name in names] == ["ada"]


@pytest.mark.slow
async def test_a_session_gets_no_other_handoff_and_the_runner_gets_it_once_the_session_has_ended(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    told, goes_on = tmp_path / "told", tmp_path / "goes-on"
    task = (
        "await call('complete_handoff', **token)\n"
        "said = await call('wait_for_handoff')\n"
        f"Path({str(told)!r}).write_text(json.dumps(said) + '\\n')\n"
        f"while not os.path.exists({str(goes_on)!r}): await asyncio.sleep(0.02)\n"
    )
    async with runner(database, "--profile", "gemini", command=client()) as process:
        first = await desk.put(task=task)
        second = await desk.put(task="await call('complete_handoff', **token, result='second')")
        said = json.loads(await appears(told))
        assert (await desk.row(first))["status"] == "completed"
        assert (await desk.row(second))["status"] == "pending"
        await beats(desk, 3)  # which tell the runner that it holds nothing any more
        assert (await desk.agent())["status"] == "working"
        goes_on.touch()
        row = await desk.reaches(second, status="completed")
        await says(process, f"{second} attempt 1: settled")
        assert f"{first} attempt 1: settled" in process.stdout

    assert "end your turn" in said["error"]["next"]
    assert (row["result"], row["attempt"]) == ("second", 1)


async def test_what_a_client_fails_counts_and_not_what_it_prints(
    database: Database, desk: Desk
) -> None:
    task = (
        "await call('fail_handoff', **token, reason='no quota', retry=False)\n"
        'print(\'{"type": "result", "is_error": false, "result": "fine"}\')\n'
    )
    async with runner(database, "--profile", "claude", command=client()):
        row = await desk.reaches(await desk.put(task=task), status="completed")

    assert (row["outcome"], row["last_error"], row["result"]) == ("failed", "no quota", None)


async def test_another_attempt_s_token_is_refused_as_ever(database: Database, desk: Desk) -> None:
    task = (
        "said = await call('complete_handoff', handoff_id=token['handoff_id'], attempt=7)\n"
        "await call('complete_handoff', **token, result=said['error']['code'])\n"
    )
    async with runner(database, "--profile", "claude", command=client()):
        row = await desk.reaches(await desk.put(task=task), status="completed")

    assert row["result"] == "lease_lost"


@pytest.mark.slow
async def test_a_runner_takes_work_again_whatever_becomes_of_a_handoff_that_its_client_gave_back(
    database: Database, desk: Desk
) -> None:
    """The client lingers, while another runner of the role has the next attempt already."""
    task = (
        "if token['attempt'] == 1:\n"
        "    await call('fail_handoff', **token, reason='busy', retry=True, retry_in_s=0)\n"
        "    await asyncio.sleep(1.5)\n"
        "else:\n"
        "    await call('complete_handoff', **token, result=os.environ['COORDINATOR_AGENT'])\n"
    )
    role = ("--role", "reviewer", "--profile", "claude")
    async with (
        runner(database, *role, command=client()) as ada,
        runner(database, *role, command=client(), name="eve") as eve,
    ):
        handoff_id = await desk.put("reviewer", task=task)
        row = await desk.reaches(handoff_id, status="completed", within=SOON)
        first, second = (ada, eve) if row["result"] == "eve" else (eve, ada)
        await says(first, f"{handoff_id} attempt 1: settled")
        await says(second, f"{handoff_id} attempt 2: settled")
        for agent in ("ada", "eve"):
            own = await desk.put(agent, task="await call('complete_handoff', **token)")
            assert (await desk.reaches(own, within=SOON, status="completed"))["attempt"] == 1


@pytest.mark.slow
async def test_a_settlement_is_known_to_the_runner_though_the_database_is_away_at_the_end(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    told, goes_on = tmp_path / "told", tmp_path / "goes-on"
    task = (
        "await call('complete_handoff', **token, result='by a tool')\n"
        f"Path({str(told)!r}).write_text('done\\n')\n"
        f"while not os.path.exists({str(goes_on)!r}): await asyncio.sleep(0.02)\n"
    )
    login = await desk.login()
    env = {"DATABASE_URL": database.dsn_as(login)}
    async with runner(database, "--profile", "claude", command=client(), env=env) as process:
        handoff_id = await desk.put(task=task)
        await appears(told)
        async with desk.outage(login):
            goes_on.touch()
            await anyio.sleep(3)  # longer than the runner looks for a settlement
        await says(process, f"{handoff_id} attempt 1: settled")
        own = await desk.put(task="await call('complete_handoff', **token)")
        row = await desk.reaches(own, within=SOON, status="completed")

    assert (row["attempt"], (await desk.row(handoff_id))["result"]) == (1, "by a tool")


@pytest.mark.slow
async def test_a_handoff_that_cannot_be_shown_ends_neither_the_runner_nor_the_one_in_hand(
    database: Database, desk: Desk
) -> None:
    deep = '{"a": ' + "[" * 300 + "]" * 300 + "}"
    poison = await desk.put("nobody", context=json.loads(deep))
    task = (
        f"said = await call('get_handoff', handoff_id={str(poison)!r})\n"
        "await call('complete_handoff', **token, result=said['error']['what'])\n"
    )
    async with runner(database, "--profile", "claude", command=client()):
        row = await desk.reaches(await desk.put(task=task), status="completed")
        given = await desk.put(
            task="await call('complete_handoff', **token)", context=json.loads(deep)
        )
        assert (await desk.reaches(given, status="completed"))["outcome"] == "succeeded"

    assert (row["outcome"], row["result"]) == ("succeeded", "this cannot be shown here")


@pytest.mark.slow
async def test_what_is_large_passes_and_what_is_too_large_is_refused(
    database: Database, desk: Desk
) -> None:
    sized = {"task": "\N{GRINNING FACE}" * 200_000}
    large = await desk.put("nobody", context=sized)
    task = (
        f"seen = await call('get_handoff', handoff_id={str(large)!r})\n"
        "heap = [{'to': 'x', 'task': 'y' * 900_000} for _ in range(20)]\n"
        "said = await call('complete_handoff', **token, follow_ups=heap)\n"
        "told = {'seen': len(seen['context']['task']), 'said': said['error']['next']}\n"
        "await call('complete_handoff', **token, result=told)\n"
    )
    async with runner(database, "--profile", "claude", command=client()):
        row = await desk.reaches(await desk.put(task=task), within=SOON, status="completed")

    assert row["result"] == {"seen": 200_000, "said": "Hand over paths, not files."}


async def test_an_answer_that_is_too_large_is_refused_and_the_runner_lives(
    database: Database, desk: Desk
) -> None:
    root = await desk.put("nobody")
    await desk.sql.execute(
        "insert into coordination_events (event, handoff_id, detail)"
        " select 'handoff.progressed', $1, jsonb_build_object('x', repeat('y', 1000000))"
        " from generate_series(1, 20)",
        root,
    )
    query = {"call": "trace", "given": {"root_id": str(root), "most": 100}}
    task = (
        "reader, writer = await asyncio.open_unix_connection(os.environ['COORDINATOR_SOCKET'])\n"
        f"writer.write(json.dumps({query!r}).encode() + bytes([10]))\n"
        "said = json.loads(await reader.readline())\n"
        "await call('complete_handoff', **token, result=said['error']['code'])\n"
    )
    async with runner(database, "--profile", "claude", command=client()):
        row = await desk.reaches(await desk.put(task=task), within=SOON, status="completed")

    assert (row["outcome"], row["result"]) == ("succeeded", "54000")


async def test_what_a_session_hands_on_follows_from_its_handoff_even_after_the_settlement(
    database: Database, desk: Desk
) -> None:
    task = (
        "await call('complete_handoff', **token)\n"
        "await call('hand_off', to='eve', task='one thing more')\n"
    )
    async with runner(database, "--profile", "claude", command=client()) as process:
        handoff_id = await desk.put(task=task)
        await says(process, f"{handoff_id} attempt 1: settled")

    onward = await desk.sql.fetchrow("select * from handoffs where from_agent = 'ada'")
    assert onward is not None
    assert (onward["parent_id"], onward["hop"]) == (handoff_id, 1)


@pytest.mark.slow
async def test_a_completion_by_a_tool_names_the_worktree(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    repository = await a_repository(tmp_path)
    task = (
        "Path('new').write_text('x')\n"
        "await call('complete_handoff', **token, result={'files': 1})\n"
    )
    options = ("--profile", "claude", "--worktree")
    async with runner(database, *options, command=client(), cwd=repository):
        row = await desk.reaches(await desk.put(task=task), within=SOON, status="completed")

    assert row["result"]["result"] == {"files": 1}
    assert Path(row["result"]["worktree"]["path"], "new").read_text() == "x"


async def test_without_a_socket_for_its_tools_the_runner_gives_the_work_back_and_ends(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Some file systems have no sockets; this one is made to have none."""
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, socket\n"
        "def bind(self, address):\n"
        "    raise OSError(errno.EOPNOTSUPP, 'no sockets here')\n"
        "socket.socket.bind = bind\n"
    )
    arguments = ("agent", "run", "--name", "ada", "--profile", "claude", "--", *client())
    env = {"DATABASE_URL": database.dsn, "PYTHONPATH": str(tmp_path)}
    async with coordinator(*arguments, env=env) as process:
        await says(process, READY)
        handoff_id = await desk.put(task="raise SystemExit('it was started')")
        waiting = await desk.put(task="nobody is there for this")
        code = await process.wait()

    row = await desk.row(handoff_id)
    assert code == 78
    assert (row["status"], row["attempt"]) == ("pending", 1)
    assert "no socket for its tools" in row["last_error"]
    assert (await desk.row(waiting))["attempt"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--http", "127.0.0.1:0")])
async def test_no_other_agent_begins_inside_a_plain_command(
    database: Database, desk: Desk, more: tuple[str, ...]
) -> None:
    server = [str(SCRIPT), "mcp", "--agent", "claude-1", *more]
    script = f"import subprocess as s; print(s.run({server!r}, stdin=s.DEVNULL).returncode)"
    passed = ("--pass-env", "DATABASE_URL", "--pass-env", "COORDINATOR_MCP_TOKEN")
    env = {"COORDINATOR_MCP_TOKEN": "a-token-of-more-than-sixteen"}
    async with runner(database, *passed, command=python(script), env=env):
        row = await desk.reaches(await desk.put(), status="completed")

    assert row["result"] == 78
    assert await desk.sql.fetchval("select count(*) from agent_status") == 1


@pytest.mark.slow
async def test_a_thread_is_resumed_though_a_heartbeat_has_told_of_the_settlement(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """A client of the profile's own name, so that --resume is about it."""
    model = tmp_path / "model.py"
    model.write_text("import sys; ARGUMENTS = sys.argv[1:]\n" + CLIENT)
    fake = tmp_path / "claude"
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{model}" "$@"\n')
    fake.chmod(0o700)
    task = (
        "await call('complete_handoff', **token, result=ARGUMENTS.count('--resume'))\n"
        "await asyncio.sleep(1.5)\n"
        'print(\'{"type": "result", "is_error": false, "result": "", "session_id": "s1"}\')\n'
    )
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    async with runner(database, "--profile", "claude", "--resume", env=env) as process:
        first = await desk.put(task=task)
        await says(process, f"{first} attempt 1: settled")
        second = await desk.put(task=task, parent_id=first)
        await says(process, f"{second} attempt 1: settled")

    assert [(await desk.row(each))["result"] for each in (first, second)] == [0, 1]


async def test_the_window_is_private_bears_nonsense_and_ends_with_its_command(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    told, goes_on = tmp_path / "told", tmp_path / "goes-on"
    task = (
        f"Path({str(told)!r}).write_text(os.environ['COORDINATOR_SOCKET'] + '\\n')\n"
        f"while not os.path.exists({str(goes_on)!r}): await asyncio.sleep(0.02)\n"
        "await call('complete_handoff', **token)\n"
    )
    nonsense = [
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        b'{"call": "close"}\n',
        b'{"call": "__init__", "given": {}}\n',
        b'{"call": "held", "given": {"life": 3}}\n',
        b'{"call": "handoff", "given": {"handoff_id": "x", "more": 1}}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (LONGEST_LINE + 1),
    ]
    async with runner(database, "--profile", "claude", command=client()):
        handoff_id = await desk.put(task=task)
        path = Path(await appears(told))
        for line in nonsense:
            assert await answer_to(path, line) == b""
        life = {"agent_name": "eve", "incarnation": str(uuid4())}
        held = await answer_to(path, call("held", life=life))
        modes = [stat.S_IMODE(os.stat(each).st_mode) for each in (path, path.parent)]
        goes_on.touch()
        await desk.reaches(handoff_id, status="completed")
        await eventually(lambda: is_away(path))

    assert json.loads(held)["answer"]["id"] == str(
        handoff_id
    )  # the runner's life, whatever is said
    assert modes == [0o600, 0o700]


async def test_a_long_path_to_temporary_files_leaves_room_for_the_socket(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    env = {"TMPDIR": str(long)}
    async with runner(database, "--profile", "claude", command=client(), env=env):
        row = await desk.reaches(
            await desk.put(task="await call('complete_handoff', **token)"), status="completed"
        )

    assert row["outcome"] == "succeeded"


async def test_a_plain_command_has_no_window(database: Database, desk: Desk) -> None:
    script = "import os; print([name for name in os.environ if 'SOCKET' in name])"
    async with runner(database, command=(sys.executable, "-c", script)):
        row = await desk.reaches(await desk.put(), status="completed")

    assert row["result"] == []


def call(name: str, **given: object) -> bytes:
    return json.dumps({"call": name, "given": given}).encode() + b"\n"


async def answer_to(socket: Path, line: bytes) -> bytes:
    """Send a line, and read one; nothing where the other side hangs up instead."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=2**20)
    try:
        with anyio.fail_after(10):
            writer.write(line)
            await writer.drain()
            return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def a_repository(folder: Path) -> Path:
    """A git repository with a commit, which is all that worktrees need."""
    repository = folder / "project"
    me = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(repository))
    commit = ("commit", "--quiet", "--allow-empty", "--message", "first")
    for command in (["init", "--quiet", str(repository)], [*me, *commit]):
        await anyio.run_process(["git", *command])
    return repository


async def beats(desk: Desk, count: int) -> None:
    """Wait for so many heartbeats of the agent."""
    for _ in range(count):
        seen = (await desk.agent())["last_seen"]

        async def again(seen: object = seen) -> bool:
            return bool((await desk.agent())["last_seen"] != seen)

        await eventually(again)


async def is_away(path: Path) -> bool:
    return not path.exists()
