"""Waiting for a result, while holding a handoff: refused where it would never end."""

from uuid import UUID

from tests.integration.schema.world import World


async def chain(world: World, *names: str) -> UUID:
    """Each agent holds what the one before handed to it; the last one's handoff."""
    last = None
    for sender, holder in zip(("eve", *names), names, strict=False):
        life = await world.agent(holder)
        last = await world.held(life, from_agent=sender)
    assert last is not None
    return last


WAIT = "select * from hand_off($1, $2, 'do it', will_wait => true)"


async def test_waiting_for_the_holder_of_an_ancestor_is_refused(world: World) -> None:
    await chain(world, "ada", "bob", "cyd")

    async with world.refused("ZH010"):
        await world.rows(WAIT, "cyd", "ada")


async def test_waiting_for_oneself_is_refused(world: World) -> None:
    await chain(world, "ada")

    async with world.refused("ZH010"):
        await world.rows(WAIT, "ada", "ada")


async def test_waiting_for_a_role_that_only_an_ancestors_holder_plays_is_refused(
    world: World,
) -> None:
    await chain(world, "ada", "bob")
    await world.execute("update agent_status set roles = '{reviewer}' where agent_name = 'ada'")

    async with world.refused("ZH010"):
        await world.rows(WAIT, "bob", "reviewer")


async def test_waiting_for_a_role_that_somebody_free_plays_is_allowed(world: World) -> None:
    await chain(world, "ada", "bob")
    await world.execute("update agent_status set roles = '{reviewer}' where agent_name = 'ada'")
    await world.agent("cyd", roles=["reviewer"])

    assert len(await world.rows(WAIT, "bob", "reviewer")) == 1


async def test_waiting_for_a_stranger_is_allowed(world: World) -> None:
    await chain(world, "ada", "bob")
    await world.agent("cyd")

    assert len(await world.rows(WAIT, "bob", "cyd")) == 1


async def test_handing_back_without_waiting_is_allowed(world: World) -> None:
    await chain(world, "ada", "bob")

    await world.handoff("ada", from_agent="bob")
