"""`coordinator agent webhook` before receivers and endpoints that mean harm or are not there."""

import random
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.integration.daemon.daemons import QUICK_SWEEP, leader
from tests.support.certificates import OPENSSL, Authority
from tests.support.postgres import Database, throw_away_cluster
from tests.support.runner import says
from tests.support.sdk import Desk, desk_at
from tests.support.sockets import descriptors, memory
from tests.support.waiting import eventually
from tests.support.webhook import (
    Answer,
    Received,
    Receiver,
    dripping_json,
    endless_head,
    endless_json,
    endless_text,
    never,
    receiving,
    said,
    status,
    webhook,
)

DONE = said({"outcome": "succeeded"})
DOWN = "takes no handoffs: "
MOST_GROWTH_MB = 40


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


async def test_receivers_without_end_cost_no_memory(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    await desk.no_pause_before_retries()
    haste = ("--timeout", "300ms", "--deliver-within", "400ms")
    async with webhook(database, receiver.url, *haste) as process:
        receiver.answer("dispatched", DONE)
        await desk.reaches(await desk.put(), outcome="succeeded")
        before, files = memory(process.pid), descriptors(process.pid)

        receiver.answer("dispatched", endless_json)
        for _ in range(5):
            row = await desk.reaches(await desk.put(), outcome="failed")
            assert row["last_error"] == "its answer is larger than 1048576 bytes"

        receiver.answer("dispatched", endless_text)
        row = await desk.reaches(await desk.put(max_attempts=1), status="in_progress")
        await says(process, f"{row['id']} attempt 1: taken")
        await desk.sql.execute("select cancel_handoff($1)", row["id"])
        await desk.sql.execute("select fail_handoff($1, 1, 'ada', $2)", row["id"], row["held_by"])

        for hostile in (never, dripping_json, endless_head):
            receiver.answer("dispatched", hostile, hostile, DONE)
            row = await desk.reaches(await desk.put(max_attempts=9), outcome="succeeded")
            assert 1 <= row["attempt"] <= 3
            assert "could not be delivered" in row["last_error"]

        assert memory(process.pid) - before < MOST_GROWTH_MB
        assert descriptors(process.pid) <= files + 3


async def test_a_redirect_into_this_network_leads_nowhere(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    async with receiving() as inside:
        receiver.answer("dispatched", status(307, f"Location: {inside.url}"))
        receiver.answer_pings(status(302, f"Location: {inside.url}"))
        async with webhook(database, receiver.url, ready=DOWN) as process:
            await says(process, "HTTP 302: redirects are not followed")
            handoff_id = await desk.put()
            receiver.answer_pings(status(204))
            await says(process, "HTTP 307: redirects are not followed")
            await desk.reaches(handoff_id, status="pending", attempt=1)

    assert inside.connections == 0


async def test_a_name_that_means_this_machine_is_not_called(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    url = f"http://localhost:{receiver.port}/"
    async with webhook(database, url, reach=(), ready=DOWN) as process:
        handoff_id = await desk.put()
        await says(process, "is refused: it is loopback")
        assert (await desk.agent())["blocked_reason"].startswith("webhook misconfigured: the addr")
        assert (await desk.row(handoff_id))["attempt"] == 0

    assert receiver.connections == 0


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl program")
async def test_an_endpoint_must_prove_itself(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    ours, theirs = Authority.found(tmp_path / "a"), Authority.found(tmp_path / "b")
    async with receiving(ours.certify("localhost")) as receiver:
        receiver.answer("dispatched", DONE)
        wrong, right = ("--ca-file", str(theirs.file)), ("--ca-file", str(ours.file))
        async with webhook(database, receiver.url, *wrong, ready=DOWN) as process:
            handoff_id = await desk.put()
            await says(process, "its certificate proves nothing")
            assert (await desk.row(handoff_id))["attempt"] == 0
        assert receiver.requests == []

        async with webhook(database, receiver.url, *right):
            row = await desk.reaches(handoff_id, outcome="succeeded")

    assert row["attempt"] == 1


async def test_an_answer_that_comes_while_the_server_restarts_counts(receiver: Receiver) -> None:
    async with throw_away_cluster() as cluster, cluster.database() as database:

        async def in_an_outage(_: Received) -> bytes:
            await cluster.server.stop()
            return said({"outcome": "succeeded", "result": "kept"})

        receiver.answer("dispatched", in_an_outage, DONE)
        async with leader(database), webhook(database, receiver.url) as process:
            async with desk_at(database) as desk:
                handoff_id = await desk.put()
                await receiver.receives("dispatched")
            await cluster.server.launch()
            async with desk_at(database) as desk:
                row = await desk.reaches(handoff_id, outcome="succeeded")
                assert (row["attempt"], row["result"]) == (1, "kept")
                # And it goes on.
                await desk.reaches(await desk.put(), outcome="succeeded")
            await says(process, f"{handoff_id} attempt 1: succeeded")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_capricious_receiver_has_every_handoff_done_once(
    database: Database, desk: Desk, receiver: Receiver, seed: int
) -> None:
    await desk.no_pause_before_retries()
    chance = random.Random(seed)
    verdicts: dict[UUID, list[str]] = {}

    async def reset(request: Received) -> bytes:
        request.writer.transport.abort()
        return b""

    async def settle(request: Received) -> bytes:
        async with desk_at(database) as mine:
            call = "select complete_handoff($1, $2, $3, $4)"
            verdict = await mine.sql.fetchval(call, *request.token)
        verdicts.setdefault(request.token[0], []).append(verdict)
        return chance.choice([status(204), status(500)])

    caprices: list[bytes | Answer] = [DONE, DONE, reset, settle, never, status(404), status(409)]
    caprices += [status(500), status(503, "Retry-After: 0"), b"what?\r\n"]

    async def anything(request: Received) -> bytes:
        caprice = chance.choice(caprices)
        return caprice if isinstance(caprice, bytes) else await caprice(request)

    receiver.answer("dispatched", anything)
    haste = ("--timeout", "300ms", "--deliver-within", "1s")
    async with webhook(database, receiver.url, *haste):
        ids = [await desk.put(max_attempts=100) for _ in range(30)]
        await eventually(lambda: all_completed(desk), within=timedelta(seconds=100))

    assert {(await desk.row(each))["outcome"] for each in ids} == {"succeeded"}
    assert all(found.count("applied") <= 1 for found in verdicts.values())
    ends = "select count(*) from coordination_events where event = 'handoff.succeeded'"
    assert await desk.sql.fetchval(ends) == len(ids)
    attempts: dict[UUID, int] = {}
    for handoff_id, attempt in (each.token[:2] for each in receiver.requests if each.is_of_work):
        assert attempt >= attempts.get(handoff_id, 0), "an earlier attempt was told of later"
        attempts[handoff_id] = attempt


async def all_completed(desk: Desk) -> bool:
    left = await desk.sql.fetchval("select count(*) from handoffs where status <> 'completed'")
    return bool(left == 0)


@pytest.mark.slow
async def test_a_signal_ends_it_though_the_server_is_away(receiver: Receiver) -> None:
    async with (
        throw_away_cluster() as cluster,
        cluster.database() as database,
        leader(database),
        webhook(database, receiver.url) as process,
    ):
        async with desk_at(database) as desk:
            handoff_id = await desk.put()
        await says(process, f"{handoff_id} attempt 1: taken")
        await cluster.server.stop()
        process.kill(signal.SIGTERM)
        assert await process.wait(within=timedelta(seconds=30)) == 0


@pytest.mark.slow
async def test_an_outage_of_a_minute_costs_one_attempt(
    database: Database, desk: Desk, receiver: Receiver
) -> None:
    receiver.answer("dispatched", DONE)
    usual = ("--probe-every", "5s", "--deliver-within", "20s", "--timeout", "10s")
    async with webhook(database, receiver.url, *usual) as process:
        await receiver.close()
        ids = [await desk.put(max_attempts=2) for _ in range(3)]
        await desk.sql.execute("select pg_sleep(60)")
        await says(process, "attempt 1: undelivered")
        assert [(await desk.row(each))["attempt"] for each in ids] == [1, 0, 0]
        await receiver.open()
        rows = [await desk.reaches(each, outcome="succeeded") for each in ids]

    assert [row["attempt"] for row in rows] == [2, 1, 1]
