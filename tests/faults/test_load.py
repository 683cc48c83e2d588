"""The load by itself, before any fault: it is whole and fast enough, and its notes are true."""

import signal
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import get_args
from uuid import UUID, uuid4

from tests.faults.field import Spawn
from tests.faults.ground import TIMINGS
from tests.faults.history import Note, Saw, notes_in
from tests.faults.load.chains import broken_chains
from tests.faults.load.logins import logins_on
from tests.faults.load.programs import plain_agents, sdk_agents, senders
from tests.faults.load.rate import Rate, rate_of
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

SEED = "a quiet day"
SDK = ("ada", "bob", "cleo", "dan")
PLAIN = ("pia", "pit")
AGENTS = SDK + PLAIN
SENDERS = ("sender-plain", "sender-function", "sender-sdk")
RATE = 40.0
MINIMUM = Rate(acknowledged=10, completed=12)
"""A quarter of what two free cores reach (38/s and 55/s): other tests run beside this one."""
ENOUGH = 120
"""So many handoffs are sent before the rate is looked at."""
REFUSALS = {"23505", "23514", "ZH008", "ZH009"}
SOON = timedelta(seconds=30)

Attempt = tuple[UUID | None, int | None]


async def test_a_load_without_faults_is_completed_and_its_notes_tell_what_happened(
    database: Database, world: World, tmp_path: Path
) -> None:
    async with leader(database, TIMINGS), clients(database, tmp_path) as running:
        await everybody(AGENTS, "finished", tmp_path)
        await eventually(lambda: there_are_notes_of_every_kind(tmp_path), within=SOON)
        await running.stop_sending()
        await eventually(lambda: is_all_completed(world), within=SOON)
        await eventually(lambda: as_many_successes(world, tmp_path))

        notes = notes_in(tmp_path)
        assert {note.sqlstate for note in notes if note.sqlstate} == REFUSALS
        assert await unexplained_handoffs(world, notes) == []
        assert await broken_chains(world) == []
        assert succeeded(notes) == await attempts(world, "handoff.succeeded")
        assert accepted(notes, by=SDK) == await attempts(world, "handoff.accepted")
        assert running.complaints == []
        rate = rate_of(notes)
        assert rate.acknowledged >= MINIMUM.acknowledged, rate
        assert rate.completed >= MINIMUM.completed, rate


async def test_a_load_goes_on_when_its_processes_and_its_sessions_are_killed(
    database: Database, world: World, tmp_path: Path
) -> None:
    async with leader(database, TIMINGS), clients(database, tmp_path) as running:
        await everybody(AGENTS, "finished", tmp_path)
        await everybody(SENDERS, "acknowledged", tmp_path)

        await running.kill()
        begun_again = time.monotonic_ns()
        await running.start()
        await everybody(AGENTS, "accepted", tmp_path, since=begun_again)
        await everybody(SENDERS, "acknowledged", tmp_path, since=begun_again)

        cut_off = time.monotonic_ns()
        assert await end_all_sessions_of(world, "%_of_" + database.name) > len(SENDERS)
        await everybody(AGENTS, "finished", tmp_path, since=cut_off)
        await everybody(SENDERS, "acknowledged", tmp_path, since=cut_off)
        await running.stop_sending()
        await eventually(lambda: is_all_completed(world), within=SOON)

        notes = notes_in(tmp_path)
        assert await unexplained_handoffs(world, notes) == []
        assert await broken_chains(world) == []
        assert succeeded(notes) <= await attempts(world, "handoff.succeeded")
        assert running.complaints == []


def test_a_rate_counts_what_was_acknowledged_and_what_succeeded() -> None:
    done, failed, late, again = (uuid4() for _ in range(4))
    notes = [
        Note(client="eve", at=0, saw="sending", key="1"),
        Note(client="eve", at=1_000_000_000, saw="acknowledged", key="1", handoff_id=done),
        Note(client="eve", at=2_000_000_000, saw="acknowledged", key="2", handoff_id=failed),
    ]
    for at, handoff_id, outcome, verdict in (
        (3, done, "succeeded", "applied"),
        (4, failed, "failed", "applied"),
        (5, late, "succeeded", "stale"),
        (6, again, "succeeded", "repeated"),
    ):
        attempt = {"client": "ada", "handoff_id": handoff_id, "attempt": 1}
        for after, seen in (
            (0.0, {"saw": "accepted"}),
            (0.5, {"saw": "finishing", "outcome": outcome}),
            (1.0, {"saw": "finished", "verdict": verdict}),
        ):
            moment = int((at + after) * 1e9)
            notes.append(Note.model_validate({**attempt, **seen, "at": moment}))

    assert rate_of(notes) == Rate(acknowledged=1.0, completed=0.5)
    assert rate_of([]) == Rate(acknowledged=0.0, completed=0.0)


@dataclass(slots=True)
class Clients:
    """The three programs of the load, in all their lives."""

    agents: Sequence[Spawn]
    senders: Spawn
    stack: AsyncExitStack
    lives: list[RunningProcess] = field(default_factory=list)

    async def start(self) -> None:
        """Begin a life of each."""
        for spawn in (*self.agents, self.senders):
            self.lives.append(await self.stack.enter_async_context(spawn()))

    async def kill(self) -> None:
        """End them all by SIGKILL."""
        for process in self.lives:
            process.kill()
            assert await process.wait() == -signal.SIGKILL, str(process)

    async def stop_sending(self) -> None:
        """Let the senders resolve what they have begun."""
        self.lives[-1].kill(signal.SIGTERM)
        assert await self.lives[-1].wait() == 0, str(self.lives[-1])

    @property
    def complaints(self) -> list[str]:
        """What they have said on stderr."""
        return [process.stderr for process in self.lives if process.stderr]


@asynccontextmanager
async def clients(database: Database, notes: Path) -> AsyncIterator[Clients]:
    """Run the load until the end of the block, each program with no more rights than it needs."""
    async with logins_on(database) as logins, AsyncExitStack() as stack:
        running = Clients(
            [
                sdk_agents(database.dsn_as(logins.sdk), notes, SDK, SEED),
                plain_agents(database.dsn_as(logins.plain), notes, PLAIN, SEED),
            ],
            senders(database.dsn_as(logins.senders), notes, "sender", SEED, to=AGENTS, rate=RATE),
            stack,
        )
        await running.start()
        yield running


async def everybody(clients: Iterable[str], saw: Saw, notes: Path, *, since: int = 0) -> None:
    """Wait until each of these clients has made such a note, since then."""

    async def have_seen() -> bool:
        seen = {note.client for note in notes_in(notes) if note.saw == saw and note.at > since}
        return seen >= set(clients)

    await eventually(have_seen, within=SOON)


async def there_are_notes_of_every_kind(directory: Path) -> bool:
    """Whether enough was sent, and all was seen that a client can see."""
    notes = notes_in(directory)
    return (
        sum(note.saw == "acknowledged" for note in notes) >= ENOUGH
        and {note.saw for note in notes} == set(get_args(Saw))
        and {note.sqlstate for note in notes if note.sqlstate} >= REFUSALS
    )


async def is_all_completed(world: World) -> bool:
    """Whether nothing waits and nothing is at work."""
    return bool(
        await world.value("select not exists (select from handoffs where status <> 'completed')")
    )


async def as_many_successes(world: World, notes: Path) -> bool:
    """Whether the notes have caught up with the database."""
    return len(succeeded(notes_in(notes))) == len(await attempts(world, "handoff.succeeded"))


async def attempts(world: World, event: str) -> set[Attempt]:
    """The attempts to which this has happened."""
    rows = await world.rows(
        "select handoff_id, attempt from coordination_events where event = $1", event
    )
    return {(row["handoff_id"], row["attempt"]) for row in rows}


def accepted(notes: Iterable[Note], *, by: Sequence[str]) -> set[Attempt]:
    """The attempts that these agents took up."""
    return {
        (note.handoff_id, note.attempt)
        for note in notes
        if note.saw == "accepted" and note.client in by
    }


def succeeded(notes: Sequence[Note]) -> set[Attempt]:
    """The attempts that their agents know to have succeeded."""
    meant = {
        (note.handoff_id, note.attempt)
        for note in notes
        if note.saw == "finishing" and note.outcome == "succeeded"
    }
    counted = {
        (note.handoff_id, note.attempt)
        for note in notes
        if note.saw == "finished" and note.verdict in ("applied", "repeated")
    }
    return meant & counted


async def unexplained_handoffs(world: World, notes: Sequence[Note]) -> list[str]:
    """Say which handoffs exist though no client meant it, or are missing though acknowledged."""
    acknowledged = {note.handoff_id for note in notes if note.saw == "acknowledged"}
    open_keys = {note.key for note in notes if note.saw == "sending"} - {
        note.key for note in notes if note.saw in ("acknowledged", "refused")
    }
    rows = await world.rows(
        "select id, idempotency_key from handoffs where task_description <> 'the next step'"
    )
    known = {row["id"] for row in rows}
    return [
        *(f"{handoff_id} is missing" for handoff_id in acknowledged - known),
        *(
            f"nobody has sent {row['id']}"
            for row in rows
            if row["id"] not in acknowledged and row["idempotency_key"] not in open_keys
        ),
    ]


async def end_all_sessions_of(world: World, logins: str) -> int:
    """End the sessions of all logins that are named like this; return how many there were."""
    ended = await world.value(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename like $1",
        logins,
    )
    return int(ended)
