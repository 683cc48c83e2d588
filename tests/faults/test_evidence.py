"""The checker on a real database: a clean run is judged clean, and what is done to it is found."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.faults.checker import Rule, Violation, violations
from tests.faults.checking.waiting import S
from tests.faults.evidence import history_of
from tests.faults.field import LoggedReign
from tests.faults.history import Note, Saw
from tests.integration.schema.world import Life, World
from tests.support.postgres import Database

EVERYBODY = "worker"
_HAND_OFF = """
    select handoff_id
    from hand_off(from_agent => 'eve', to_agent => $1, task_description => $2, context => $3,
      priority => $4, idempotency_key => $5)
"""
_COMPLETE = "select complete_handoff($1, $2, $3, $4, follow_ups => $5)"


@dataclass(slots=True)
class Clients:
    """All clients of a small run, in one process and on one connection, with their notes."""

    world: World
    notes: list[Note] = field(default_factory=list)

    def note(self, client: str, saw: Saw, **fields: Any) -> None:
        self.notes.append(Note(client=client, at=time.monotonic_ns(), saw=saw, **fields))

    async def hand_off(
        self, to_agent: str = EVERYBODY, *, task: str = "do it", steps: int = 1, priority: int = 0
    ) -> UUID:
        key = str(uuid4())
        self.note("eve", "sending", key=key, to_agent=to_agent, priority=priority)
        try:
            handoff_id: UUID = await self.world.value(
                _HAND_OFF, to_agent, task, {"steps": steps}, priority, key
            )
        except asyncpg.PostgresError as error:
            self.note("eve", "refused", key=key, sqlstate=error.sqlstate)
            raise
        self.note("eve", "acknowledged", key=key, handoff_id=handoff_id)
        return handoff_id

    async def given(self, life: Life) -> dict[str, Any]:
        """What a dispatch pass has given to this agent, taken up."""
        assert await self.world.dispatch(agents=[life.name]) == (1, False)
        handoff_id = (await self.world.the_agent(life.name))["current_handoff"]
        attempt = (await self.world.the(handoff_id))["attempt"]
        if life.incarnation is not None:
            await self.world.accept(handoff_id, attempt, life)
        token = {"handoff_id": handoff_id, "attempt": attempt}
        self.note(life.name, "accepted", **token)
        return token

    async def complete(self, life: Life, token: dict[str, Any], *, steps: int = 1) -> None:
        rest = [
            {"to_agent": EVERYBODY, "task_description": "next", "context": {"steps": steps - 1}}
        ]
        self.note(life.name, "finishing", **token, outcome="succeeded")
        verdict = await self.world.value(
            _COMPLETE, *token.values(), life.name, life.incarnation, rest if steps > 1 else []
        )
        self.note(life.name, "finished", **token, verdict=verdict)

    async def complete_by_hand(self, life: Life, token: dict[str, Any]) -> None:
        self.note(life.name, "finishing", **token, outcome="succeeded")
        done = await self.world.execute(
            "update handoffs set status = 'completed' where id = $1 and attempt = $2",
            *token.values(),
        )
        assert done == "UPDATE 1"
        self.note(life.name, "finished", **token, verdict="applied")

    async def fail(self, life: Life, token: dict[str, Any], retry_in: timedelta) -> None:
        self.note(life.name, "finishing", **token, outcome="failed")
        verdict = await self.world.fail(
            token["handoff_id"], token["attempt"], life, retry_in=retry_in
        )
        self.note(life.name, "finished", **token, verdict=verdict)

    async def cancel(self, handoff_id: UUID) -> None:
        self.note("eve", "cancelling", handoff_id=handoff_id)
        answer = await self.world.cancel(handoff_id)
        self.note("eve", "cancel_answered", handoff_id=handoff_id, verdict=answer)

    async def found(self, **how: Any) -> list[Violation]:
        """What the checker says, where every event is logged."""
        rows = await self.world.rows("select sequence from coordination_events order by 1")
        reign = LoggedReign(1, [row["sequence"] for row in rows])
        return violations(await history_of(self.world, self.notes, [reign], **how))


@pytest.fixture
def clients(world: World) -> Clients:
    """Clients that have done nothing yet."""
    return Clients(world)


async def play_a_little(clients: Clients) -> UUID:
    """Let everything happen that a small run can have; return a handoff that has succeeded."""
    world = clients.world
    ada, bob = await world.agent("ada", roles=[EVERYBODY]), await world.agent("bob")
    dot = await world.agent("dot", plain=True)

    first = await clients.hand_off(steps=2)
    await clients.complete(ada, await clients.given(ada), steps=2)
    await clients.complete(ada, await clients.given(ada))

    await clients.hand_off("bob")
    await clients.fail(bob, await clients.given(bob), retry_in=timedelta(0))
    late = await clients.given(bob)
    bob = await world.agent("bob")  # another life: what the first one had is taken back
    await clients.complete(Life("bob", uuid4()), late)
    await clients.complete(bob, await clients.given(bob))

    await clients.hand_off("dot")
    await clients.complete_by_hand(dot, await clients.given(dot))

    await clients.cancel(await clients.hand_off("nobody"))
    asked = await clients.hand_off("bob")
    held = await clients.given(bob)
    await clients.cancel(asked)
    await clients.fail(bob, held, retry_in=timedelta(0))
    await clients.cancel(asked)
    await world.retry(asked)

    with pytest.raises(asyncpg.CheckViolationError):
        await clients.hand_off(task=" ")
    await world.execute("delete from handoffs where id = $1", await clients.hand_off("nobody"))
    await clients.hand_off(priority=-1)
    return first


async def test_a_clean_run_is_clean(clients: Clients) -> None:
    await play_a_little(clients)

    assert await clients.found() == []


async def test_it_is_read_whole(clients: Clients) -> None:
    await play_a_little(clients)

    history = await history_of(clients.world, clients.notes, [])

    rows, events = ("select count(*) from handoffs", "select count(*) from coordination_events")
    assert len(history.rows) == await clients.world.value(rows)
    assert len(history.events) == await clients.world.value(events)
    assert {event.name for event in history.events} >= {
        "handoff.accepted",
        "handoff.attempt_failed",
        "handoff.cancel_requested",
        "handoff.settled_late",
        "handoff.taken_back",
    }
    acknowledged = {note.handoff_id: note for note in clients.notes if note.saw == "acknowledged"}
    for event in history.events:
        if event.name == "handoff.queued" and event.handoff_id in acknowledged:
            answered = acknowledged[event.handoff_id].at + history.server_ahead
            assert 0 < answered - event.at < 60 * S


async def test_a_row_deleted_behind_its_back_is_found(clients: Clients) -> None:
    first = await play_a_little(clients)

    async with unwatched(clients.world):
        await clients.world.execute("delete from handoffs where id = $1", first)

    [lost] = await clients.found()
    assert lost.rule is Rule.LOST
    assert str(first) in lost.where


async def test_a_row_changed_behind_its_back_is_found(clients: Clients) -> None:
    first = await play_a_little(clients)

    async with unwatched(clients.world):
        await clients.world.execute("update handoffs set outcome = 'failed' where id = $1", first)

    [changed] = await clients.found()
    assert changed.rule is Rule.ROW


async def test_an_event_that_was_not_logged_is_found(clients: Clients) -> None:
    await play_a_little(clients)

    history = await history_of(clients.world, clients.notes, [])

    assert {violation.rule for violation in violations(history)} == {Rule.LOG}


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
async def test_whom_a_stranger_locks_is_overtaken(
    clients: Clients, database: Database, declared: bool
) -> None:
    ada = await clients.world.agent("ada", roles=[EVERYBODY])
    older, newer = await clients.hand_off(), await clients.hand_off()
    await clients.world.value("select pg_sleep(0.02)")  # clocks are trusted to a few milliseconds

    began = time.monotonic_ns()
    async with World.on(database) as stranger, stranger.savepoint():
        await stranger.execute("select from handoffs where id = $1 for update", older)
        token = await clients.given(ada)
    assert token["handoff_id"] == newer
    await clients.complete(ada, token)
    await clients.complete(ada, await clients.given(ada))

    found = await clients.found(locked=[(began, time.monotonic_ns())] if declared else [])
    assert [violation.rule for violation in found] == ([] if declared else [Rule.ORDER])


@asynccontextmanager
async def unwatched(world: World) -> AsyncIterator[None]:
    """Let no trigger see what happens inside."""
    await world.execute("set session_replication_role = replica")
    yield
    await world.execute("reset session_replication_role")
