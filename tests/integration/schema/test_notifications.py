"""Who is told what: heard on a real LISTEN connection. Transitions notify, heartbeats never."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.schema.world import Life, World
from tests.support.postgres import Connection, Database

Heard = list[tuple[str, dict[str, Any]]]


class Ear:
    """A connection that listens; `since()` returns what came since the last look."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard: Heard = []

    async def listen(self, *channels: str) -> None:
        """Listen on channels."""
        for channel in channels:
            await self._connection.add_listener(channel, self._hear)

    async def since(self) -> Heard:
        """Return what was heard. A statement's answer follows all notifications before it."""
        await self._connection.execute("select pg_notify('ear', '{}')")
        heard = [item for item in self._heard if item[0] != "ear"]
        self._heard.clear()
        return heard

    def _hear(self, _: object, __: int, channel: str, payload: object) -> None:
        self._heard.append((channel, json.loads(str(payload))))


@pytest.fixture
async def ear(database: Database) -> AsyncIterator[Ear]:
    """Listens as the daemon does, on both doorbells."""
    async with listening(database) as ear:
        yield ear


@asynccontextmanager
async def listening(database: Database, *agents: str) -> AsyncIterator[Ear]:
    """Listen on the doorbells and on agents' channels."""
    async with database.connect() as connection:
        ear = Ear(connection)
        channels = [
            await connection.fetchval("select agent_channel($1)", agent) for agent in agents
        ]
        await ear.listen("ear", "handoffs", "agent_status", *channels)
        yield ear


async def test_a_new_handoff_rings_with_its_address(committed: World, ear: Ear) -> None:
    await committed.handoff("ada")

    assert await ear.since() == [("handoffs", {"event": "queued", "addresses": ["ada"]})]


async def test_a_thousand_handoffs_ring_once(committed: World, ear: Ear) -> None:
    await committed.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', 'agent ' || n % 3, 'do it' from generate_series(1, 1000) n"
    )

    assert await ear.since() == [
        ("handoffs", {"event": "queued", "addresses": ["agent 0", "agent 1", "agent 2"]})
    ]


async def test_more_addresses_than_fit_ring_without_names(committed: World, ear: Ear) -> None:
    await committed.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', repeat('x', 120) || n, 'do it' from generate_series(1, 100) n"
    )

    assert await ear.since() == [("handoffs", {"event": "queued"})]


async def test_a_delayed_handoff_rings_as_delayed(committed: World, ear: Ear) -> None:
    later = await committed.value("select now() + interval '1 hour'")

    await committed.handoff("ada", available_at=later)

    assert [item[1]["event"] for item in await ear.since()] == ["delayed"]


async def test_an_agent_that_becomes_idle_rings(committed: World, ear: Ear) -> None:
    ada = await committed.agent()
    assert await ear.since() == [("agent_status", {"event": "idle", "agents": ["ada"]})]
    await committed.say(ada, "working")
    await ear.since()

    await committed.say(ada, "idle")

    assert await ear.since() == [("agent_status", {"event": "idle", "agents": ["ada"]})]


async def test_an_agent_that_settles_rings_as_idle(committed: World, ear: Ear) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    await ear.since()

    await committed.complete(handoff, 1, ada)

    assert ("agent_status", {"event": "idle", "agents": ["ada"]}) in await ear.since()


async def test_work_that_comes_back_rings_with_its_address(committed: World, ear: Ear) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    await ear.since()

    await committed.fail(handoff, 1, ada, retry_in=timedelta(0))

    assert ("handoffs", {"event": "queued", "addresses": ["ada"]}) in await ear.since()


async def test_a_retry_rings_with_its_address(committed: World, ear: Ear) -> None:
    handoff = await committed.handoff("ada")
    await committed.cancel(handoff)
    await ear.since()

    await committed.retry(handoff)

    assert await ear.since() == [("handoffs", {"event": "queued", "addresses": ["ada"]})]


async def test_work_that_ripens_rings_with_its_address(committed: World, ear: Ear) -> None:
    later = await committed.value("select now() + interval '1 hour'")
    handoff = await committed.handoff("ada", available_at=later)
    await committed.age(handoff, "available_at", timedelta(seconds=1))
    await ear.since()

    await committed.sweep("make_due")

    assert await ear.since() == [("handoffs", {"event": "queued", "addresses": ["ada"]})]


async def test_heartbeats_never_notify(committed: World, database: Database) -> None:
    async with listening(database, "ada") as ear:
        ada = await committed.agent()
        handoff = await committed.held(ada, accepted=True)
        await ear.since()

        await committed.heartbeat(ada, handoff, 1)
        await committed.rows("select * from heartbeat_many('{ada}', $1)", ada.incarnation)
        await committed.execute(
            "update agent_status set last_seen = now(), current_task = 'x', metadata = '{}'"
        )

        assert await ear.since() == []


async def test_a_heartbeat_that_lifts_stale_rings(committed: World, ear: Ear) -> None:
    ada = await committed.agent(last_seen_ago=timedelta(seconds=46))
    await committed.sweep("block_stale_agents")
    await ear.since()

    await committed.heartbeat(ada)

    assert await ear.since() == [("agent_status", {"event": "idle", "agents": ["ada"]})]


async def test_a_new_role_rings(committed: World, ear: Ear) -> None:
    await committed.agent()
    await ear.since()

    await committed.execute("update agent_status set roles = '{reviewer}'")

    assert await ear.since() == [("agent_status", {"event": "idle", "agents": ["ada"]})]


async def test_what_is_rolled_back_is_not_told(committed: World, ear: Ear) -> None:
    async with committed.savepoint():
        await committed.handoff("ada")

    assert await ear.since() == []


# --- an agent's own channel -------------------------------------------------------------------


async def test_an_agents_channel_is_a_hash_of_its_name(world: World) -> None:
    channels = {
        name: await world.value("select agent_channel($1)", name)
        for name in ("handoffs", "agent_status", "Ada", "ada", "ä" * 128)
    }

    assert len(set(channels.values())) == len(channels)
    assert {(channel[:3], len(channel)) for channel in channels.values()} == {("to_", 35)}
    assert all(channel == channel.lower() for channel in channels.values())


async def told_to(ear: Ear) -> list[str]:
    """The events heard on agents' own channels."""
    return [told["event"] for channel, told in await ear.since() if channel.startswith("to_")]


async def test_an_agent_is_pushed_what_it_was_given(committed: World, database: Database) -> None:
    async with listening(database, "ada") as ear:
        ada = await committed.agent()

        handoff = await committed.held(ada)

        channel = await committed.value("select agent_channel('ada')")
        push = {"event": "dispatched", "handoff_id": str(handoff), "attempt": 1}
        assert (channel, push) in await ear.since()


async def test_a_holder_is_asked_to_stop(committed: World, database: Database) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada, accepted=True)
    async with listening(database, "ada") as ear:
        await committed.cancel(handoff)

        assert await told_to(ear) == ["cancel_requested"]


@pytest.mark.parametrize("way", ["lapsed", "cancelled", "replaced", "deleted", "deadline"])
async def test_a_holder_is_told_what_it_lost(
    committed: World, database: Database, way: str
) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    async with listening(database, "ada") as ear:
        match way:
            case "lapsed":
                await committed.age_heartbeat("ada", timedelta(minutes=3))
                await committed.sweep("take_back_lapsed")
            case "cancelled":
                await committed.cancel(handoff)
            case "replaced":
                await committed.register(Life("ada", uuid4()))
            case "deleted":
                await committed.execute("delete from handoffs")
            case _:
                await committed.age(handoff, "deadline_at", timedelta(seconds=1))
                await committed.sweep("end_overdue")

        assert await told_to(ear) == ["taken_back"]


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
async def test_a_sender_is_told_how_its_handoff_ended(
    committed: World, database: Database, outcome: str
) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada, from_agent="eve")
    async with listening(database, "eve") as ear:
        match outcome:
            case "succeeded":
                await committed.complete(handoff, 1, ada)
            case "failed":
                await committed.fail(handoff, 1, ada, retry=False)
            case _:
                await committed.cancel(handoff)

        assert await told_to(ear) == [outcome]


async def test_a_sender_is_told_of_a_crash_loops_end(committed: World, database: Database) -> None:
    ada = await committed.agent()
    await committed.held(ada, from_agent="eve", max_attempts=1)
    async with listening(database, "eve") as ear:
        await committed.age_heartbeat("ada", timedelta(minutes=3))
        await committed.sweep("take_back_lapsed")

        assert await told_to(ear) == ["failed"]


async def test_an_unaccepted_handoff_is_pushed_once_more(
    committed: World, database: Database
) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    await committed.age(handoff, "dispatched_at", timedelta(seconds=16))
    async with listening(database, "ada") as ear:
        await committed.sweep("push_again")

        assert await told_to(ear) == ["dispatched"]


async def test_an_agent_with_the_longest_name_is_told(committed: World, database: Database) -> None:
    name = "ä" * 128
    async with listening(database, name) as ear:
        ada = await committed.agent(name)

        await committed.held(ada)

        assert await told_to(ear) == ["dispatched"]
