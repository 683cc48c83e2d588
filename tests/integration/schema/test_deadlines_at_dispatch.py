"""Work past its deadline is not given to anybody: the sweep fails it."""

from datetime import timedelta

import pytest

from tests.integration.schema.world import World


@pytest.mark.matrix
async def test_overdue_work_is_never_dispatched(world: World) -> None:
    await world.agent("ada")
    overdue = await world.handoff("ada")
    await world.execute(
        "update handoffs set deadline_at = now() - interval '1 second' where id = $1", overdue
    )

    assert await world.dispatch("ada") == (0, False)
    assert await world.sweep("end_overdue") == 1
    assert await world.state(overdue) == ("completed", "failed")
    assert await world.shows("ada") == ("idle", None)


@pytest.mark.matrix
async def test_overdue_work_does_not_hold_up_what_waits_behind_it(world: World) -> None:
    await world.agent("ada")
    overdue = await world.handoff("ada", priority=9)
    behind = await world.handoff("ada")
    await world.age(overdue, "created_at", timedelta(minutes=1))
    await world.execute(
        "update handoffs set deadline_at = now() - interval '1 second' where id = $1", overdue
    )

    await world.dispatch("ada")

    assert await world.state(behind) == ("in_progress", None)
