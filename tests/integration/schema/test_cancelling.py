"""Cancel: what ends at once, what is asked to stop, and how that ends."""

from datetime import timedelta

import pytest

from tests.integration.schema.world import World

PLAIN = "coordinator_plain_agent"
GRACE_OVER = timedelta(seconds=31)


async def test_a_pending_handoff_is_cancelled_at_once(world: World) -> None:
    handoff = await world.handoff("ada")

    assert await world.cancel(handoff) == "cancelled"

    row = await world.the(handoff)
    assert (row["outcome"], row["last_error"]) == ("cancelled", "no longer needed")


async def test_what_a_registered_agent_has_not_accepted_is_cancelled_at_once(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    assert await world.cancel(handoff) == "cancelled"

    assert await world.shows() == ("idle", None)
    assert await world.complete(handoff, 1, ada) == "stale"


async def test_a_failure_after_it_was_cancelled_at_once_is_stale(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.cancel(handoff)

    assert await world.fail(handoff, 1, ada) == "stale"

    assert (await world.events(handoff))[-1] == "handoff.settled_late"


@pytest.mark.parametrize("plain", [True, False])
async def test_what_an_agent_works_on_is_asked_to_stop(world: World, plain: bool) -> None:
    ada = await world.agent(plain=plain)
    handoff = await world.held(ada, accepted=not plain)

    assert await world.cancel(handoff) == "requested"

    assert await world.state(handoff) == ("in_progress", None)
    assert (await world.heartbeat(ada, handoff, 1))["should_stop"]


async def test_a_second_request_to_stop_changes_nothing(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)
    await world.cancel(handoff)
    before = await world.the(handoff)

    assert await world.cancel(handoff) == "requested"

    assert dict(await world.the(handoff)) == dict(before)


async def test_a_failure_after_a_request_to_stop_is_cancelled_and_not_tried_again(
    world: World,
) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)
    await world.cancel(handoff)

    assert await world.fail(handoff, 1, ada, retry=True) == "applied"

    assert await world.state(handoff) == ("completed", "cancelled")


async def test_a_success_after_a_request_to_stop_is_a_success(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)
    await world.cancel(handoff)

    assert await world.complete(handoff, 1, ada) == "applied"

    assert await world.state(handoff) == ("completed", "succeeded")


async def test_a_plain_failure_after_a_request_to_stop_is_cancelled(world: World) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)
    await world.cancel(handoff)

    await world.execute(
        "update handoffs set status = 'completed', outcome = 'failed' where id = $1", handoff
    )

    assert await world.state(handoff) == ("completed", "cancelled")


async def test_silence_for_the_cancel_grace_ends_it_and_blocks_the_agent(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)
    await world.cancel(handoff)
    assert await world.sweep("end_cancelled") == 0
    await world.age(handoff, "cancel_requested_at", GRACE_OVER)

    assert await world.sweep("end_cancelled") == 1

    assert await world.state(handoff) == ("completed", "cancelled")
    assert await world.shows() == ("blocked", "unresponsive")


@pytest.mark.parametrize("plain", [True, False])
async def test_a_cancelled_plain_update_of_a_pending_handoff_tells_the_present_reason(
    world: World, plain: bool
) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.age_heartbeat("ada", timedelta(seconds=121))
    await world.sweep("take_back_lapsed")

    if plain:
        async with world.role(PLAIN):
            await world.execute(
                "update handoffs set status = 'completed', outcome = 'cancelled' where id = $1",
                handoff,
            )
    else:
        await world.cancel(handoff)

    reason = await world.value(
        "select detail ->> 'reason' from coordination_events where event = 'handoff.cancelled'"
    )
    assert reason == "cancelled"
