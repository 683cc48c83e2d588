"""`coordinator agent webhook`: what a receiver is sent, and what becomes of what it answers."""

import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.integration.daemon.daemons import QUICK_SILENCE, QUICK_SWEEP, leader
from tests.support.commands import ended
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running
from tests.support.runner import QUICK, says
from tests.support.sdk import Desk, desk_at
from tests.support.waiting import eventually
from tests.support.webhook import (
    PATH,
    READY,
    SECRET,
    Received,
    Receiver,
    receiving,
    said,
    status,
    webhook,
)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """A desk at a database that a daemon works on."""
    async with leader(database, QUICK_SWEEP), desk_at(database) as desk:
        yield desk


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that takes everything."""
    async with receiving() as receiver:
        yield receiver


async def completed(desk: Desk, request: Received, result: object) -> str:
    """Settle as a receiver does, by the token that it was sent; return the verdict."""
    call = "select complete_handoff($1, $2, $3, $4, result => $5)"
    return str(await desk.sql.fetchval(call, *request.token, result))


async def failed(desk: Desk, request: Received, why: str) -> str:
    """Settle as failed for good."""
    call = "select fail_handoff($1, $2, $3, $4, error => $5, retry => false)"
    return str(await desk.sql.fetchval(call, *request.token, why))


async def says_the_end(process: RunningProcess) -> list[str]:
    """Stop it; return what it told of attempts, without their ids."""
    process.kill(signal.SIGTERM)
    assert await process.wait() == 0, str(process)
    return [line.partition(" ")[2] for line in process.stdout.splitlines()]


async def test_a_receiver_takes_a_handoff_and_settles_it_by_its_token(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    receiver.answer("dispatched", status(202))
    async with webhook(database, receiver.url, "--role", "reviewer") as process:
        handoff_id = await desk.put("reviewer", "a t4sk", context={"a": "s3cret context"})
        request = await receiver.receives("dispatched")
        row = await is_accepted(desk, handoff_id)
        assert (row["status"], row["attempt"]) == ("in_progress", 1)
        assert request.token == (handoff_id, 1, "ada", row["held_by"])
        assert request.is_signed_with(SECRET)
        assert request.line == f"POST {PATH} HTTP/1.1"
        assert request.event.keys() == {"type", "timestamp", "data"}
        assert request.event["data"].keys() == {"agent", "incarnation", "handoff_id", "attempt"}

        assert await completed(desk, request, {"verdict": "fine"}) == "applied"
        second = await desk.put()
        await receiver.receives("dispatched", 2)
        # Once settled, nothing more is sent about it.
        assert [each.type for each in receiver.requests if str(handoff_id) in str(each.body)] == [
            "handoff.dispatched"
        ]
        await is_accepted(desk, second)
        await completed(desk, receiver.requests[-1], None)

        assert await says_the_end(process) == [
            "attempt 1: taken",
            "attempt 1: settled",
            "attempt 1: taken",
            "attempt 1: settled",
        ]

        said_aloud = process.stdout + process.stderr
    written = said_aloud + "".join(str(each) for each in receiver.requests)
    for secret in ("a t4sk", "s3cret context", "boss", "verdict", SECRET):
        assert secret not in written
    assert PATH not in said_aloud
    agent = await desk.agent()
    assert agent["metadata"] == {"webhook": f"http://127.0.0.1:{receiver.port}"}
    assert agent["blocked_reason"] == "left"


async def is_accepted(desk: Desk, handoff_id: UUID) -> asyncpg.Record:
    """Wait until somebody has taken it up; return the row."""

    async def probe() -> bool:
        return (await desk.row(handoff_id))["accepted_at"] is not None

    await eventually(probe)
    return await desk.row(handoff_id)


async def test_a_receiver_settles_by_its_answer(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    await desk.no_pause_before_retries()
    async with webhook(database, receiver.url) as process:

        async def answer_of(*answers: bytes) -> tuple[str, object, str | None, int]:
            receiver.answer("dispatched", *answers)
            row = await desk.reaches(await desk.put(max_attempts=2), status="completed")
            return row["outcome"], row["result"], row["last_error"], row["attempt"]

        done = said({"outcome": "succeeded", "result": {"a": [1, "ö"]}})
        assert await answer_of(done) == ("succeeded", {"a": [1, "ö"]}, None, 1)
        assert await answer_of(said({"outcome": "succeeded"})) == ("succeeded", None, None, 1)
        again = said({"outcome": "failed", "error": "try again"})
        assert await answer_of(again, done) == ("succeeded", {"a": [1, "ö"]}, "try again", 2)
        never = said({"outcome": "failed", "error": "no", "retry": False, "result": 3})
        assert await answer_of(never) == ("failed", 3, "no", 1)
        for unfit in (
            {"outcome": "success"},
            {"outcome": "failed"},
            {"outcome": "succeeded", "resultat": 1},
            {"outcome": "succeeded", "result": "\0"},
        ):
            outcome, result, why, attempt = await answer_of(said(unfit))
            assert (outcome, result, attempt) == ("failed", None, 1)
            assert why is not None
            assert why.startswith("its answer ")
        outcome, _, why, _ = await answer_of(said(b'{"outcome": "succ'))
        assert (outcome, why) == ("failed", "its answer is no JSON that PostgreSQL can keep")
        await desk.sql.execute("update coordination_settings set max_content_bytes = 2000")
        outcome, _, why, _ = await answer_of(said({"outcome": "succeeded", "result": "x" * 3000}))
        assert outcome == "failed"
        assert "the limit is 2000" in str(why)
        # What a framework says of its own accord settles nothing.
        receiver.answer("dispatched", said({"ok": True}))
        handoff_id = await desk.put()
        await is_accepted(desk, handoff_id)

        told = (await says_the_end(process))[:3]
        assert "ö" not in process.stdout + process.stderr

    assert told == ["attempt 1: succeeded", "attempt 1: succeeded", "attempt 1: retry"]


async def test_a_receiver_may_settle_before_it_answers(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    async def at_once(request: Received) -> bytes:
        async with desk_at(database) as receivers:
            assert await completed(receivers, request, "early") == "applied"
        return status(204)

    receiver.answer("dispatched", at_once)
    async with webhook(database, receiver.url) as process:
        handoff_id = await desk.put()
        row = await desk.reaches(handoff_id, outcome="succeeded")
        await says(process, "attempt 1: settled")

    assert row["result"] == "early"
    assert receiver.got("taken_back") == []


async def test_a_receiver_may_decline(database: Database, desk: Desk, receiver: Receiver) -> None:
    await desk.no_pause_before_retries()
    receiver.answer("dispatched", status(409), said({"outcome": "succeeded"}))
    async with webhook(database, receiver.url) as process:
        row = await desk.reaches(await desk.put(), outcome="succeeded")
        assert (row["attempt"], row["last_error"]) == (2, "its webhook declined it: HTTP 409")

        receiver.answer_pings(status(410))
        receiver.answer("dispatched", status(410))
        handoff_id = await desk.put()
        await says(process, "HTTP 410: it is gone")
        await desk.reaches(handoff_id, status="pending", attempt=1)
        await is_blocked(desk, "webhook misconfigured: HTTP 410: it is gone")


async def is_blocked(desk: Desk, reason: str) -> None:
    """Wait until the agent says that it is blocked for a reason that begins so."""

    async def probe() -> bool:
        agent = await desk.agent()
        return agent["status"] == "blocked" and str(agent["blocked_reason"]).startswith(reason)

    await eventually(probe)


async def is_idle(desk: Desk) -> None:
    """Wait until the agent is idle."""

    async def probe() -> bool:
        return bool((await desk.agent())["status"] == "idle")

    await eventually(probe)


async def test_a_retried_event_keeps_its_id_and_its_body(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    done = said({"outcome": "succeeded"})
    answers = (status(500), status(429, "Retry-After: 0"), status(425), done)
    receiver.answer("dispatched", *answers)
    async with webhook(database, receiver.url, "--deliver-within", "15s"):
        row = await desk.reaches(await desk.put(), outcome="succeeded")

    tries = receiver.got("dispatched")
    assert row["attempt"] == 1
    assert len(tries) == 4
    assert {(each.id, each.body) for each in tries} == {
        (f"dispatched_{row['id'].hex}_1", tries[0].body)
    }
    assert all(each.is_signed_with(SECRET) for each in tries)


async def test_an_endpoint_that_is_down_loses_one_attempt_in_all(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    receiver.answer("dispatched", said({"outcome": "succeeded"}))
    async with webhook(database, receiver.url, "--deliver-within", "700ms") as process:
        async with receiver.hanging_up():
            ids = [await desk.put() for _ in range(4)]
            await is_blocked(desk, "webhook unreachable: ")
            await says(process, "attempt 1: undelivered")
            await receiver.called(10)
            assert [(await desk.row(each))["attempt"] for each in ids] == [1, 0, 0, 0]
        rows = [await desk.reaches(each, outcome="succeeded") for each in ids]

    assert [row["attempt"] for row in rows] == [2, 1, 1, 1]
    # It might have arrived, so it was taken back before anything else was sent.
    sent = [each.type for each in receiver.requests if each.type != "webhook.ping"]
    assert sent == ["handoff.taken_back", *["handoff.dispatched"] * 4]


async def test_an_endpoint_that_is_down_from_the_start_loses_no_attempt(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    receiver.answer("dispatched", said({"outcome": "succeeded"}))
    await receiver.close()
    handoff_id = await desk.put()
    async with webhook(database, receiver.url, ready="takes no handoffs") as process:
        await is_blocked(desk, "webhook unreachable: no connection: Connection refused")
        assert (await desk.row(handoff_id))["attempt"] == 0
        await receiver.open()
        row = await desk.reaches(handoff_id, outcome="succeeded")
        await says(process, "its webhook answers")

    assert row["attempt"] == 1


async def test_what_is_owed_goes_first_however_often_it_takes(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    receiver.answer("dispatched", status(503), said({"outcome": "succeeded"}))
    receiver.answer("taken_back", status(503), status(404), status(204))
    async with webhook(database, receiver.url, "--deliver-within", "200ms"):
        await desk.reaches(await desk.put(), outcome="succeeded", attempt=2)

    sent = [each for each in receiver.requests if each.type != "webhook.ping"]
    kinds = [each.type.partition(".")[2] for each in sent]
    assert kinds == ["dispatched", "taken_back", "taken_back", "taken_back", "dispatched"]
    assert len({each.id for each in sent}) == 3


async def test_an_endpoint_that_only_answers_pings_eats_attempts_slowly(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    receiver.answer("dispatched", status(503, "Retry-After: 3600"))
    async with webhook(database, receiver.url) as process:
        handoff_id = await desk.put()
        await says(process, "attempt 1: undelivered")
        await is_blocked(desk, "webhook unreachable: HTTP 503")
        row = await desk.row(handoff_id)
        assert (row["status"], row["attempt"]) == ("pending", 1)
        # It asked for an hour, and gets ten minutes; the handoff is free for others at once.
        assert row["available_at"] <= row["available_at"].now(row["available_at"].tzinfo)

    assert len(receiver.got("dispatched")) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404), "webhook misconfigured: HTTP 404"),
        (status(401), "webhook misconfigured: HTTP 401"),
    ],
)
async def test_a_misconfigured_endpoint_is_not_tried_again_at_once(
    database: Database, desk: Desk, receiver: Receiver, answer: bytes, reason: str
) -> None:
    receiver.answer("dispatched", answer)
    receiver.answer_pings(answer)
    async with webhook(database, receiver.url, ready="takes no handoffs"):
        handoff_id = await desk.put()
        await is_blocked(desk, reason)
        assert (await desk.row(handoff_id))["attempt"] == 0
        receiver.answer_pings(status(200))
        receiver.answer("dispatched", said({"outcome": "succeeded"}))
        await desk.reaches(handoff_id, outcome="succeeded", attempt=1)


async def test_a_cancellation_is_passed_on(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    async with webhook(database, receiver.url) as process:
        handoff_id = await desk.put()
        await is_accepted(desk, handoff_id)
        await desk.sql.execute("select cancel_handoff($1, 'enough')", handoff_id)
        request = await receiver.receives("cancel_requested")
        assert await failed(desk, request, "stopped") == "applied"
        await desk.reaches(handoff_id, outcome="cancelled")
        await says(process, "attempt 1: settled")

    assert request.id == f"cancel_requested_{handoff_id.hex}_1"
    assert len(receiver.got("cancel_requested")) == 1


async def test_what_is_taken_back_is_told_before_it_is_given_again(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    async with webhook(database, receiver.url):
        handoff_id = await desk.put()
        await is_accepted(desk, handoff_id)
        await desk.take_back(handoff_id)
        await receiver.receives("dispatched", 2)

        sent = [each for each in receiver.requests if each.type != "webhook.ping"]
        assert [(each.type, each.token[1]) for each in sent] == [
            ("handoff.dispatched", 1),
            ("handoff.taken_back", 1),
            ("handoff.dispatched", 2),
        ]
        # The first attempt's word no longer counts, whoever says it.
        assert await completed(desk, sent[0], "late") == "stale"
        assert await completed(desk, sent[2], "in time") == "applied"


async def test_an_agent_whose_work_was_ended_by_force_goes_on_once_its_receiver_knows(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    # No heartbeat helps in time.
    rarely = {"COORDINATOR_HEARTBEAT_INTERVAL": "15s"}
    async with webhook(database, receiver.url, env=rarely):
        handoff_id = await desk.put(max_attempts=1)
        await is_accepted(desk, handoff_id)
        await desk.sql.execute(
            "update handoffs set attempt_ends_at = now() where id = $1", handoff_id
        )
        await receiver.receives("taken_back")
        await desk.reaches(handoff_id, outcome="failed")
        await is_idle(desk)


async def test_the_end_of_what_it_sent_is_told(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    life = uuid4()
    await desk.sql.execute("select from register_agent('eve', $1)", life)
    settle = {
        "succeeded": "select complete_handoff($1, 1, 'eve', $2)",
        "failed": "select fail_handoff($1, 1, 'eve', $2, retry => false)",
    }
    async with webhook(database, receiver.url):
        for event, statement in settle.items():
            sent = await desk.put("eve", from_agent="ada")
            await desk.reaches(sent, status="in_progress")
            await desk.sql.execute(statement, sent, life)
            request = await receiver.receives(event)
            assert (request.token[0], request.token[2]) == (sent, "ada")
        # A forged push, and the end of somebody else's handoff, are found out.
        other = await desk.put("nobody")
        await desk.sql.execute("select cancel_handoff($1)", other)
        for handoff_id in (other, uuid4()):
            await desk.sql.execute(
                "select pg_notify(agent_channel('ada'), $1)",
                f'{{"event": "cancelled", "handoff_id": "{handoff_id}", "attempt": 1}}',
            )
        mine = await desk.put("nobody", from_agent="ada")
        await desk.sql.execute("select cancel_handoff($1)", mine)
        assert (await receiver.receives("cancelled")).token[0] == mine
        # What was told is not told again; what ends in an outage is told after it.
        async with receiver.hanging_up():
            given = await desk.put(max_attempts=1)
            await is_blocked(desk, "webhook unreachable")
            again = f'{{"event": "cancelled", "handoff_id": "{mine}", "attempt": 1}}'
            await desk.sql.execute("select pg_notify(agent_channel('ada'), $1)", again)
            last = await desk.put("nobody", from_agent="ada")
            await desk.sql.execute("select cancel_handoff($1)", last)
            await receiver.called(3)
        assert (await receiver.receives("cancelled", 2)).token[0] == last
        await desk.reaches(given, outcome="failed")


@pytest.mark.slow
async def test_forged_pushes_reach_no_receiver(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    async with webhook(database, receiver.url):
        handoff_id = await desk.put()
        request = await receiver.receives("dispatched")
        await is_accepted(desk, handoff_id)
        for event in ("dispatched", "taken_back", "cancel_requested"):
            await desk.sql.execute(
                "select pg_notify(agent_channel('ada'), $1)",
                f'{{"event": "{event}", "handoff_id": "{handoff_id}", "attempt": 1}}',
            )
        assert await completed(desk, request, None) == "applied"
        await desk.reaches(await desk.put(), status="in_progress")
        await receiver.receives("dispatched", 2)

    types = {each.type for each in receiver.requests if each.token_or_none() == handoff_id}
    assert types == {"handoff.dispatched"}


@pytest.mark.slow
async def test_a_signal_waits_for_the_receiver_and_then_gives_back(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    async with webhook(database, receiver.url, "--grace", "10s") as process:
        handoff_id, waiting = await desk.put(), await desk.put()
        request = await receiver.receives("dispatched")
        await is_accepted(desk, handoff_id)
        process.kill(signal.SIGTERM)
        await is_blocked(desk, "its webhook is stopping")
        assert await completed(desk, request, "done") == "applied"
        assert await process.wait() == 0
        assert "attempt 1: settled" in process.stdout
    assert (await desk.row(waiting))["attempt"] == 0

    async with webhook(database, receiver.url, "--grace", "200ms") as process:
        await is_accepted(desk, waiting)
        process.kill(signal.SIGTERM)
        assert await process.wait() == 0
        assert "attempt 1: given back" in process.stdout
    assert (await receiver.receives("taken_back")).token[:2] == (waiting, 1)
    row = await desk.row(waiting)
    assert (row["status"], row["attempt"]) == ("pending", 1)
    assert (await desk.agent())["blocked_reason"] == "left"


@pytest.mark.slow
async def test_a_killed_process_loses_no_work_and_nothing_counts_twice(
    database: Database, receiver: Receiver
) -> None:
    async with leader(database, QUICK_SILENCE), desk_at(database) as desk:
        async with webhook(database, receiver.url) as process:
            handoff_id = await desk.put()
            first = await receiver.receives("dispatched")
            await is_accepted(desk, handoff_id)
            process.kill(signal.SIGKILL)
            await process.wait()
        await desk.reaches(handoff_id, status="pending")

        async with webhook(database, receiver.url):
            second = await receiver.receives("dispatched", 2)
            assert second.id != first.id
            assert await completed(desk, first, "of the first life") == "stale"
            assert await completed(desk, second, "of the second") == "applied"
            assert await completed(desk, second, "of the second") == "repeated"
            row = await desk.reaches(handoff_id, outcome="succeeded")

    assert row["result"] == "of the second"


async def test_work_goes_on_while_the_database_is_away(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    login = await desk.login()
    async with webhook(database.dsn_as(login), receiver.url) as process:
        handoff_id = await desk.put()
        request = await receiver.receives("dispatched")
        await is_accepted(desk, handoff_id)
        async with desk.outage(login):
            # The receiver has a way of its own.
            assert await completed(desk, request, "meanwhile") == "applied"
            second = await desk.put()
        receiver.answer("dispatched", said({"outcome": "succeeded"}))
        await desk.reaches(second, outcome="succeeded")
        await says(process, f"{handoff_id} attempt 1: settled")


@pytest.mark.slow
async def test_a_login_that_is_one_agent_is_enough(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    login = f"ada_of_{database.name}"
    made = await ended("agents", "create-login", "ada", "--login", login, on=database)
    assert made.code == 0, made
    async with webhook(database.dsn_as(login), receiver.url) as process:
        handoff_id = await desk.put()
        await is_accepted(desk, handoff_id)
        await desk.take_back(handoff_id)
        request = await receiver.receives("dispatched", 2)
        await says(process, f"{handoff_id} attempt 2: taken")
        assert await completed(desk, request, "done") == "applied"
        await desk.sql.execute("delete from handoffs where id = $1", handoff_id)
        # What is not there any more has been taken back, as far as anybody can see.
        await says(process, f"{handoff_id} attempt 2: lost")
        process.kill(signal.SIGTERM)
        assert await process.wait() == 0
    assert (await ended("agents", "drop-login", login, on=database)).code == 0


@pytest.mark.slow
async def test_the_agents_own_word_stands(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    say = "select from set_agent_status('ada', $1, $2, $3)"
    async with webhook(database, receiver.url) as process:
        incarnation = (await desk.agent())["incarnation"]
        async with receiver.hanging_up():
            handoff_id = await desk.put()
            await says(process, "attempt 1: undelivered")
            await desk.sql.execute(say, "blocked", incarnation, "no quota")
        await receiver.receives("taken_back")
        await eventually(lambda: answers_twice(process))
        await is_blocked(desk, "no quota")
        assert (await desk.row(handoff_id))["attempt"] == 1

        await desk.sql.execute(say, "idle", incarnation, None)
        await receiver.receives("dispatched")


async def test_the_agents_own_word_stands_though_a_cancellation_cannot_be_told(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    say = "select from set_agent_status('ada', 'blocked', $1, 'no quota')"
    async with webhook(database, receiver.url) as process:
        handoff_id = await desk.put()
        row = await is_accepted(desk, handoff_id)
        await desk.sql.execute(say, row["held_by"])
        async with receiver.hanging_up():
            await desk.sql.execute("select cancel_handoff($1, 'enough')", handoff_id)
            await says(process, "webhook unreachable")
            down = (await desk.agent())["blocked_reason"]
        await eventually(lambda: answers_twice(process))
        request = await receiver.receives("cancel_requested")
        await failed(desk, request, "stopped")
        await desk.reaches(handoff_id, outcome="cancelled")
        agent = await desk.agent()

    assert (down, agent["status"], agent["blocked_reason"]) == ("no quota", "blocked", "no quota")


async def answers_twice(process: RunningProcess) -> bool:
    return process.stderr.count(READY) == 2


async def test_another_process_of_the_name_ends_it(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    async with webhook(database, receiver.url) as process:
        handoff_id = await desk.put()
        await is_accepted(desk, handoff_id)
        await desk.sql.execute(
            "select from register_agent(agent_name => 'ada', incarnation => gen_random_uuid())"
        )
        assert await process.wait() == 65
        assert "another process has registered" in process.stderr
    assert (await receiver.receives("taken_back")).token[0] == handoff_id


async def test_with_json_each_line_is_an_object(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    receiver.answer("dispatched", status(500), said({"outcome": "succeeded"}))
    hasty = ("--json", "--deliver-within", "100ms")
    async with webhook(database, receiver.url, *hasty, ready="is registered") as process:
        handoff_id = await desk.put()
        await desk.reaches(handoff_id, outcome="succeeded", attempt=2)
        process.kill(signal.SIGTERM)
        assert await process.wait() == 0
        told = [json.loads(line) for line in process.stdout.splitlines()]

    why = "webhook unreachable: HTTP 500"
    ids = {"handoff_id": str(handoff_id)}
    assert told == [
        {"event": "webhook.reached", "agent": "ada"},
        {"event": "webhook.lost", "agent": "ada", "reason": why},
        {**ids, "attempt": 1, "outcome": "undelivered", "trouble": "HTTP 500"},
        {"event": "webhook.reached", "agent": "ada"},
        {**ids, "attempt": 2, "outcome": "succeeded", "trouble": None},
    ]


async def test_the_example_does_its_work(database: Database, desk: Desk) -> None:
    env = {"DATABASE_URL": database.dsn, "WEBHOOK_SECRET": SECRET}
    command = (sys.executable, EXAMPLES / "webhook/receiver.py", "0")
    async with running(command, env=env) as example:
        await says(example, "listening on port")
        port = example.stdout.split()[-1]
        async with webhook(database, f"http://127.0.0.1:{port}/"):
            handoff_id = await desk.put(task="don't panic")
            await desk.reaches(handoff_id, outcome="succeeded", result={"text": "DON'T PANIC"})


NOWHERE = {"DATABASE_URL": "postgresql://someone:geheim@127.0.0.1:1/nothing", **QUICK}
WITH_SECRET = {**NOWHERE, "COORDINATOR_WEBHOOK_SECRET": SECRET}
URL = ("--url", "https://hooks.example.org/in")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "env", "code", "told"),
    [
        ((), WITH_SECRET, 78, "no URL is named"),
        (URL, NOWHERE, 78, "openssl rand -base64 32"),
        (URL, {**NOWHERE, "COORDINATOR_WEBHOOK_SECRET": "short"}, 78, "24 to"),
        (("--url", "ftp://a.example/"), WITH_SECRET, 78, "https://"),
        (("--url", "https://me:geheim@a.example/"), WITH_SECRET, 78, "a user or a password"),
        ((*URL, "--allow-private", "10.0.0.1/8"), WITH_SECRET, 64, "host bits"),
        ((*URL, "--deliver-within", "30s"), WITH_SECRET, 64, "accept_timeout"),
        (URL, WITH_SECRET, 69, "127.0.0.1"),
    ],
)
async def test_it_does_not_start_with_what_cannot_work(
    arguments: tuple[str, ...], env: dict[str, str], code: int, told: str
) -> None:
    refused = await ended("agent", "webhook", "--name", "ada", *arguments, env=env)

    assert (refused.code, told in refused.err) == (code, True), refused
    assert "geheim" not in refused.err
    assert SECRET not in refused.err


async def test_secrets_come_from_files_and_are_two_while_they_are_exchanged(
    database: Database, desk: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "new").write_text("another secret, of plain text\n")
    (tmp_path / "old").write_text(f"{SECRET}\n")
    files = ("--secret-file", str(tmp_path / "new"), "--secret-file", str(tmp_path / "old"))
    receiver.answer("dispatched", said({"outcome": "succeeded"}))
    async with webhook(database, receiver.url, *files, env={"COORDINATOR_WEBHOOK_SECRET": ""}):
        await desk.reaches(await desk.put(), outcome="succeeded")

    [request] = receiver.got("dispatched")
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    assert request.is_signed_with(SECRET)
