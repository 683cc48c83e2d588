"""`coordinator events`: every transition once, whoever is late and whatever breaks."""

import asyncio
import json
import random
import signal
from collections import Counter
from typing import Any

import anyio

from tests.support.commands import ended
from tests.support.postgres import Connection, Database
from tests.support.processes import SCRIPT, RunningProcess, coordinator, running
from tests.support.waiting import eventually

INSERT = "insert into handoffs (from_agent, to_agent, task_description) values ('me', $1, 'x')"


def _told(process: RunningProcess) -> list[dict[str, Any]]:
    whole = process.stdout.rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


async def _has_told(process: RunningProcess, count: int) -> list[dict[str, Any]]:
    """Wait until a follower has told at least so many transitions."""

    async def probe() -> list[dict[str, Any]]:
        told = _told(process)
        return told if len(told) >= count else []

    try:
        return await eventually(probe)
    except AssertionError as error:
        error.add_note(str(process))
        raise


async def test_the_newest_are_shown_in_order(database: Database, connection: Connection) -> None:
    for number in range(5):
        await connection.execute(INSERT, f"agent-{number}")

    shown = await ended("events", "--last", "3", "--json", on=database)

    told = [json.loads(line) for line in shown.out.splitlines()]
    assert [each["detail"]["to_agent"] for each in told] == ["agent-2", "agent-3", "agent-4"]
    assert list(told[0]) == [
        "event_number",
        "occurred_at",
        "event",
        "handoff_id",
        "attempt",
        "agent",
        "by_user",
        "by_application",
        "detail",
    ]


async def test_since_shows_all_that_came_after(database: Database, connection: Connection) -> None:
    await connection.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'me', 'ada', 'x' from generate_series(1, 2500)"
    )
    numbers = await connection.fetch("select sequence from coordination_events order by sequence")

    shown = await ended("events", "--since", str(numbers[0][0]), "--json", on=database)

    told = [json.loads(line)["event_number"] for line in shown.out.splitlines()]
    assert told == [row[0] for row in numbers[1:]]


async def test_only_what_is_asked_for_is_shown(database: Database, connection: Connection) -> None:
    await connection.execute("select register_agent('ada'), register_agent('grace')")
    await connection.execute(INSERT, "ada")
    handoff_id = await connection.fetchval("select id from handoffs")

    of_agent = await ended("events", "--agent", "ada", "--json", on=database)
    of_handoff = await ended("events", "--handoff", str(handoff_id), on=database)

    assert [json.loads(line)["agent"] for line in of_agent.out.splitlines()] == ["ada"]
    assert [line.split()[3] for line in of_handoff.out.splitlines()] == ["handoff.queued"]
    assert "from=me to=ada" in of_handoff.out


async def test_since_and_last_do_not_go_together(database: Database) -> None:
    refused = await ended("events", "--since", "1", "--last", "1", on=database)

    assert refused.code == 64


async def test_a_number_below_zero_is_refused(database: Database) -> None:
    refused = await ended("events", "--since", "-1", on=database)

    assert refused.code == 64
    assert "--since" in refused.err


async def test_a_late_commit_with_a_low_number_is_not_missed(
    database: Database, connection: Connection
) -> None:
    env = {"DATABASE_URL": database.dsn}
    async with database.connect() as late, late.transaction():
        await late.execute(INSERT, "late")
        await connection.execute(INSERT, "early")
        follower = coordinator("events", "--follow", "--since", "0", "--json", env=env)
        process = await follower.__aenter__()
        await _has_told(process, 1)
        await connection.execute(INSERT, "next")
        await _has_told(process, 2)
    try:
        told = await _has_told(process, 3)
    finally:
        await follower.__aexit__(None, None, None)

    assert [each["detail"]["to_agent"] for each in told] == ["early", "next", "late"]
    assert told[2]["event_number"] < told[0]["event_number"]


async def test_nothing_is_missed_or_repeated_beside_many_writers(
    database: Database, connection: Connection
) -> None:
    async def write(number: int) -> None:
        chance = random.Random(number)
        async with database.connect() as writer:
            for _ in range(60):
                # Overlapping transactions of several statements: numbers and commits part.
                async with writer.transaction():
                    for _ in range(chance.randint(1, 4)):
                        await writer.execute(INSERT, f"agent-{number}")
                        await asyncio.sleep(chance.random() / 500)

    env = {"DATABASE_URL": database.dsn}
    async with coordinator("events", "-f", "--since", "0", "--json", env=env) as process:
        async with anyio.create_task_group() as writers:
            for number in range(6):
                writers.start_soon(write, number)
        rows = await connection.fetch("select sequence from coordination_events")
        told = await _has_told(process, len(rows))

    assert Counter(each["event_number"] for each in told) == Counter(row[0] for row in rows)


async def test_following_goes_on_after_a_lost_connection(
    database: Database, connection: Connection
) -> None:
    env = {"DATABASE_URL": database.dsn}
    async with coordinator("events", "-f", "--since", "0", "--json", env=env) as process:
        await connection.execute(INSERT, "before")
        await _has_told(process, 1)
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'coordinator-cli' and datname = current_database()"
        )
        await connection.execute(INSERT, "meanwhile")
        told = await _has_told(process, 2)

        words = process.stderr

    assert [each["detail"]["to_agent"] for each in told] == ["before", "meanwhile"]
    assert "lost" in words or "answer" in words


async def test_an_interrupted_follower_ends_quietly(
    database: Database, connection: Connection
) -> None:
    await connection.execute(INSERT, "ada")
    env = {"DATABASE_URL": database.dsn}
    async with coordinator("events", "--follow", "--json", env=env) as process:
        await _has_told(process, 1)
        process.kill(signal.SIGINT)
        code = await process.wait()

        assert (code, process.stderr.strip()) == (130, "")


async def test_a_reader_that_has_enough_ends_the_command_quietly(
    database: Database, connection: Connection
) -> None:
    await connection.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'me', 'ada', 'x' from generate_series(1, 5000)"
    )
    pipeline = '"$0" events --since 0 | head -1; exit "${PIPESTATUS[0]}"'
    env = {"DATABASE_URL": database.dsn}
    async with running(["bash", "-c", pipeline, SCRIPT], env=env) as process:
        code = await process.wait()

        assert (code, process.stderr) == (141, "")
        assert len(process.stdout.splitlines()) == 1
