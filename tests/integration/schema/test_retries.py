"""Attempts, backoff, deadlines, take-backs and forced ends."""

from datetime import timedelta

import pytest

from tests.integration.schema.world import World

SILENT = timedelta(seconds=121)
MOMENT = timedelta(seconds=1)


async def give_up(world: World) -> None:
    """Let every holder be silent past the take-back time, sweep, and let them be heard again."""
    await world.execute("update agent_status set last_seen = now() - $1::interval", SILENT)
    await world.sweep("take_back_lapsed")
    await world.execute("update agent_status set last_seen = now()")


async def test_a_failed_attempt_waits_and_comes_back(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    assert await world.fail(handoff, 1, ada) == "applied"

    row = await world.the(handoff)
    assert (row["status"], row["due"], row["attempt"]) == ("pending", False, 1)
    assert (row["last_error"], row["held_by"], row["assigned_agent"]) == ("it broke", None, None)
    assert await world.shows() == ("idle", None)


@pytest.mark.parametrize(
    ("attempt", "ceiling"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (1000, 300.0)],
)
async def test_the_pause_doubles_up_to_its_ceiling_with_jitter_down_to_the_half(
    world: World, attempt: int, ceiling: float
) -> None:
    rows = await world.rows(
        "select extract(epoch from coordination.pause_after($1))::float8"
        " from generate_series(1, 99)",
        attempt,
    )

    pauses = [row[0] for row in rows]
    assert ceiling / 2 <= min(pauses) < max(pauses) <= ceiling


async def test_the_agent_may_choose_the_pause(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    await world.fail(handoff, 1, ada, retry_in=timedelta(hours=1))

    row = await world.the(handoff)
    assert row["available_at"] - await world.value("select now()") == timedelta(hours=1)


async def test_a_pause_of_nothing_is_due_at_once(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    await world.fail(handoff, 1, ada, retry_in=timedelta(0))

    assert await world.dispatch("ada") == (1, False)


async def test_work_that_ripens_becomes_due(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.fail(handoff, 1, ada)
    assert await world.sweep("make_due") == 0
    await world.age(handoff, "available_at", MOMENT)

    assert await world.sweep("make_due") == 1

    assert await world.dispatch("ada") == (1, False)


async def test_a_failure_that_needs_no_retry_is_final(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    await world.fail(handoff, 1, ada, retry=False)

    assert await world.state(handoff) == ("completed", "failed")


async def test_attempts_are_bounded_by_max_attempts(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, max_attempts=3)
    for attempt in (1, 2):
        await world.fail(handoff, attempt, ada, retry_in=timedelta(0))
        await world.dispatch("ada")

    await world.fail(handoff, 3, ada, retry_in=timedelta(0))

    assert await world.state(handoff) == ("completed", "failed")
    assert (await world.events(handoff)).count("handoff.attempt_failed") == 2


async def test_a_crash_loop_is_bounded_by_max_attempts(world: World) -> None:
    await world.agent()
    handoff = await world.handoff("ada", max_attempts=3)
    for _ in range(3):
        assert await world.dispatch("ada") == (1, False)
        await give_up(world)

    assert await world.state(handoff) == ("completed", "failed")
    assert (await world.the(handoff))["attempt"] == 3
    assert await world.dispatch("ada") == (0, False)


async def test_a_pending_handoff_always_has_an_attempt_left(world: World) -> None:
    await world.agent()
    handoff = await world.handoff("ada")
    await world.dispatch("ada")
    await give_up(world)

    async with world.refused("23514"):
        await world.execute("update handoffs set max_attempts = 1 where id = $1", handoff)


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
async def test_a_retry_reopens_with_a_new_budget_and_never_lowers_the_attempt(
    world: World, outcome: str
) -> None:
    ada = await world.agent()
    later = await world.value("select now() + interval '1 hour'")
    handoff = await world.held(ada, max_attempts=1, deadline_at=later)
    match outcome:
        case "succeeded":
            await world.complete(handoff, 1, ada, {"a": 1})
        case "failed":
            await world.fail(handoff, 1, ada)
        case _:
            await world.cancel(handoff)
    position = (await world.the(handoff))["position"]

    await world.retry(handoff, 2)

    row = await world.the(handoff)
    assert (row["status"], row["outcome"], row["result"]) == ("pending", None, None)
    assert (row["attempt"], row["max_attempts"], row["retries"]) == (1, 3, 1)
    assert (row["deadline_at"], row["finished_at"], row["cancel_requested"]) == (None, None, False)
    assert row["position"] == position
    assert await world.dispatch("ada") == (1, False)
    assert (await world.the(handoff))["attempt"] == 2


@pytest.mark.parametrize("attempts", [0, -1, None, 2**31 - 1])
async def test_a_retry_needs_a_sensible_budget(world: World, attempts: int | None) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.complete(handoff, 1, ada)

    async with world.refused("ZH006"):
        await world.execute("select from retry_handoff($1, $2)", handoff, attempts)


# --- take back --------------------------------------------------------------------------------


async def test_work_of_a_silent_agent_is_taken_back_at_once_due_in_its_old_place(
    world: World,
) -> None:
    await world.agent()
    first = await world.handoff("ada")
    second = await world.handoff("ada")
    await world.dispatch("ada")
    assert (await world.the(first))["status"] == "in_progress"

    await give_up(world)

    assert await world.dispatch("ada") == (1, False)
    assert (await world.the(first))["attempt"] == 2
    assert await world.state(second) == ("pending", None)


async def test_work_of_an_agent_that_is_heard_stays(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    assert await world.sweep("take_back_lapsed") == 0

    assert await world.state(handoff) == ("in_progress", None)


async def test_a_stale_agent_stays_blocked_when_its_work_is_taken_back(world: World) -> None:
    ada = await world.agent()
    await world.held(ada)
    await world.age_heartbeat("ada", SILENT)
    await world.sweep("block_stale_agents")

    await world.sweep("take_back_lapsed")

    assert await world.shows() == ("blocked", "stale")
    assert (await world.the_agent())["current_handoff"] is None


async def test_what_is_not_accepted_in_time_is_taken_back_and_its_agent_blocked(
    world: World,
) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    assert await world.sweep("take_back_unaccepted") == 0
    await world.age(handoff, "dispatched_at", timedelta(seconds=31))

    assert await world.sweep("take_back_unaccepted") == 1

    assert await world.state(handoff) == ("pending", None)
    assert await world.shows() == ("blocked", "unresponsive")
    async with world.refused("ZH001"):
        await world.accept(handoff, 1, ada)


@pytest.mark.parametrize("plain", [True, False])
async def test_what_is_accepted_or_held_by_a_plain_agent_need_not_be_accepted(
    world: World, plain: bool
) -> None:
    ada = await world.agent(plain=plain)
    handoff = await world.held(ada, accepted=not plain)
    await world.age(handoff, "dispatched_at", timedelta(hours=1))

    assert await world.sweep("take_back_unaccepted") == 0


async def test_an_unaccepted_handoff_is_pushed_again_at_half_time(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    assert await world.sweep("push_again") == 0
    await world.age(handoff, "dispatched_at", timedelta(seconds=16))

    assert await world.sweep("push_again") == 1


async def test_what_was_pushed_again_is_not_pushed_a_third_time(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.age(handoff, "dispatched_at", timedelta(seconds=20))
    looked = await world.value("select now() - interval '4 seconds'")

    [row] = await world.run("push_again", accept_timeout=timedelta(seconds=30), since=looked)

    assert row[0] == 0


async def test_an_attempts_time_runs_from_the_accept(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, timeout=timedelta(minutes=5))
    assert (await world.the(handoff))["attempt_ends_at"] is None

    await world.accept(handoff, 1, ada)

    row = await world.the(handoff)
    assert row["attempt_ends_at"] - row["accepted_at"] == timedelta(minutes=5)


async def test_a_plain_agents_time_runs_from_the_dispatch(world: World) -> None:
    pia = await world.agent("pia", plain=True)

    row = await world.the(await world.held(pia, timeout=timedelta(minutes=5)))

    assert row["attempt_ends_at"] - row["dispatched_at"] == timedelta(minutes=5)


@pytest.mark.parametrize("plain", [True, False])
async def test_an_attempt_past_its_time_is_taken_back_and_its_agent_blocked(
    world: World, plain: bool
) -> None:
    ada = await world.agent(plain=plain)
    handoff = await world.held(ada, accepted=not plain, timeout=timedelta(minutes=5))
    assert await world.sweep("take_back_timed_out") == 0
    await world.age(handoff, "attempt_ends_at", MOMENT)

    assert await world.sweep("take_back_timed_out") == 1

    assert await world.state(handoff) == ("pending", None)
    assert await world.shows() == ("blocked", "unresponsive")


@pytest.mark.parametrize("where", ["pending", "delayed", "held", "stopping"])
async def test_a_deadline_ends_a_handoff_in_any_state(world: World, where: str) -> None:
    ada = await world.agent()
    later = await world.value("select now() + interval '1 hour'")
    if where in {"pending", "delayed"}:
        handoff = await world.handoff(
            "ada", deadline_at=later, **({"available_at": later} if where == "delayed" else {})
        )
    else:
        handoff = await world.held(ada, accepted=True, deadline_at=later)
    if where == "stopping":
        await world.cancel(handoff)
    assert await world.sweep("end_overdue") == 0
    await world.age(handoff, "deadline_at", MOMENT)

    assert await world.sweep("end_overdue") == 1

    assert await world.state(handoff) == ("completed", "failed")
    assert (await world.the(handoff))["end_reason"] == "deadline"
    held = where in {"held", "stopping"}
    assert await world.shows() == (("blocked", "unresponsive") if held else ("idle", None))


async def test_silence_past_the_last_attempt_is_cancelled_where_that_was_asked(
    world: World,
) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True, max_attempts=1)
    await world.cancel(handoff)

    await give_up(world)

    assert await world.state(handoff) == ("completed", "cancelled")
