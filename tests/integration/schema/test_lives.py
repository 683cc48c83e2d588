"""A new life of an agent: what the old one holds, and what its words still do."""

from uuid import uuid4

from tests.integration.schema.world import Life, World
from tests.support.postgres import Database


async def test_a_new_life_takes_back_at_once_what_the_old_one_holds(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)

    await world.register(Life("ada", uuid4()))

    assert await world.state(handoff) == ("pending", None)
    assert (await world.the(handoff))["end_reason"] == "replaced"
    assert await world.shows() == ("idle", None)
    assert (await world.agent_events())[-1] == "agent.replaced"


async def test_the_old_lifes_calls_are_refused(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.register(Life("ada", uuid4()))

    async with world.refused("ZH002"):
        await world.heartbeat(ada)
    async with world.refused("ZH002"):
        await world.say(ada, "idle")
    async with world.refused("ZH002"):
        await world.accept(handoff, 1, ada)
    async with world.refused("ZH002"):
        await world.execute("select leave('ada', $1)", ada.incarnation)
    assert await world.complete(handoff, 1, ada) == "stale"


async def test_the_same_life_registers_again_and_keeps_its_work(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)

    row = await world.register(ada)

    assert (row["status"], row["current_handoff"]) == ("working", handoff)
    assert await world.complete(handoff, 1, ada) == "applied"


async def test_the_old_lifes_word_does_not_reach_the_new_one_even_if_it_came_first(
    committed: World, database: Database
) -> None:
    ada = await committed.agent()
    async with World.on(database) as other:
        async with committed.connection.transaction():
            await committed.register(Life("ada", uuid4()))
            word = other.later(other.say(ada, "blocked"))
            await committed.wait_until_blocked(other)

        with other.refusal("ZH002"):
            await word

    assert await committed.shows() == ("idle", None)


async def test_the_old_lifes_late_word_does_not_lift_the_verdict_on_the_new_one(
    world: World,
) -> None:
    ada = await world.agent()
    first = await world.held(ada, accepted=True)
    reborn = Life("ada", uuid4())
    await world.register(reborn)
    await world.dispatch("ada")
    await world.accept(first, 2, reborn)
    await world.end_by_force(first)

    assert await world.complete(first, 1, ada) == "stale"

    assert await world.shows() == ("blocked", "unresponsive")


async def test_only_the_present_life_is_told_what_it_holds(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    held = "select id from held_handoff('ada', $1)"

    assert await world.value(held, ada.incarnation) == handoff
    assert await world.value(held, uuid4()) is None
    assert await world.value(held, None) is None


async def test_an_unknown_agent_is_named(world: World) -> None:
    nobody = Life("nobody", uuid4())
    for call in (world.heartbeat(nobody), world.say(nobody, "idle")):
        async with world.refused("ZH003"):
            await call
    async with world.refused("ZH003"):
        await world.execute("select leave('nobody', $1)", nobody.incarnation)
