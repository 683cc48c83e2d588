"""The token of an attempt: who may settle, what a late word does, how a cancel ends."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.integration.schema.world import Life, World

PLAIN = "coordinator_plain_agent"
GRACE_OVER = timedelta(seconds=31)


async def test_the_holders_incarnation_is_copied_at_dispatch(world: World) -> None:
    ada = await world.agent()

    row = await world.the(await world.held(ada))

    assert (row["assigned_agent"], row["held_by"], row["attempt"]) == ("ada", ada.incarnation, 1)


def wrong_tokens(ada: Life) -> list[tuple[int, Life, str]]:
    """Tokens that differ in one part, and how accept refuses them."""
    return [
        (2, ada, "ZH001"),
        (0, ada, "ZH001"),
        (1, Life("bob", ada.incarnation), "ZH002"),
        (1, Life("nobody", ada.incarnation), "ZH003"),
        (1, Life("ada", uuid4()), "ZH002"),
        (1, Life("ada", None), "ZH002"),
    ]


@pytest.mark.parametrize("nth", range(6))
async def test_accept_and_progress_refuse_a_wrong_token(world: World, nth: int) -> None:
    ada = await world.agent("ada")
    await world.agent("bob")
    handoff = await world.held(ada)
    attempt, life, code = wrong_tokens(ada)[nth]

    async with world.refused(code):
        await world.accept(handoff, attempt, life)
    async with world.refused(code):
        await world.execute(
            "select report_progress($1, $2, $3, $4)", handoff, attempt, life.name, life.incarnation
        )


@pytest.mark.parametrize("word", ["complete", "fail"])
@pytest.mark.parametrize("nth", range(6))
async def test_complete_and_fail_keep_a_wrong_tokens_word_and_do_not_apply_it(
    world: World, nth: int, word: str
) -> None:
    ada = await world.agent("ada")
    await world.agent("bob")
    handoff = await world.held(ada)
    before = await world.the(handoff)
    attempt, life, _ = wrong_tokens(ada)[nth]

    say = world.complete if word == "complete" else world.fail
    assert await say(handoff, attempt, life) == "stale"

    assert dict(await world.the(handoff)) == dict(before)
    assert (await world.events(handoff))[-1] == "handoff.settled_late"


async def test_a_late_result_is_kept_as_an_event(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)
    await world.fail(handoff, 1, ada, retry_in=timedelta(0))

    assert await world.complete(handoff, 1, ada, {"answer": 42}) == "stale"

    detail = await world.value(
        "select detail from coordination_events where event = 'handoff.settled_late'"
    )
    assert (detail["word"], detail["result"]) == ("complete", {"answer": 42})
    assert detail["incarnation"] == str(ada.incarnation)
    assert await world.state(handoff) == ("pending", None)


async def test_completing_twice_with_one_token_is_repeated(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    assert await world.complete(handoff, 1, ada, {"first": 1}) == "applied"

    assert await world.complete(handoff, 1, ada, {"second": 2}) == "repeated"

    assert (await world.the(handoff))["result"] == {"first": 1}


async def test_completing_twice_without_an_incarnation_is_repeated(world: World) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)
    await world.complete(handoff, 1, pia)

    assert await world.complete(handoff, 1, pia) == "repeated"


async def test_failing_twice_with_one_token_is_repeated(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    assert await world.fail(handoff, 1, ada, retry_in=timedelta(0)) == "applied"

    assert await world.fail(handoff, 1, ada) == "repeated"

    assert (await world.events(handoff)).count("handoff.attempt_failed") == 1


async def test_a_failure_is_repeated_even_while_the_next_attempt_runs(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.fail(handoff, 1, ada, retry_in=timedelta(0))
    await world.dispatch("ada")

    assert await world.fail(handoff, 1, ada) == "repeated"

    assert await world.state(handoff) == ("in_progress", None)


async def test_the_other_settlement_with_the_same_token_is_stale(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.complete(handoff, 1, ada)

    assert await world.fail(handoff, 1, ada) == "stale"

    assert await world.state(handoff) == ("completed", "succeeded")


async def test_a_completion_is_repeated_even_after_it_was_reopened(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.complete(handoff, 1, ada)
    await world.retry(handoff)

    assert await world.complete(handoff, 1, ada) == "repeated"


async def test_another_life_does_not_repeat_what_it_never_settled(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.complete(handoff, 1, ada)
    reborn = Life("ada", uuid4())
    await world.register(reborn)

    assert await world.complete(handoff, 1, reborn) == "stale"


async def test_completing_implies_an_accept(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    await world.complete(handoff, 1, ada)

    assert (await world.the(handoff))["accepted_at"] is not None


async def test_accepting_twice_changes_nothing(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.accept(handoff, 1, ada)
    first = await world.the(handoff)

    await world.accept(handoff, 1, ada)

    assert dict(await world.the(handoff)) == dict(first)
    assert (await world.events(handoff)).count("handoff.accepted") == 1


async def test_progress_is_an_event_and_tells_of_a_cancel(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)
    progress = "select report_progress($1, 1, 'ada', $2, 'half way', '{\"done\": 50}')"
    assert not await world.value(progress, handoff, ada.incarnation)
    await world.cancel(handoff)

    assert await world.value(progress, handoff, ada.incarnation)

    detail = await world.value(
        "select detail from coordination_events where event = 'handoff.progressed' limit 1"
    )
    assert (detail["note"], detail["progress"]) == ("half way", {"done": 50})


# --- completion by plain SQL ------------------------------------------------------------------

COMPLETE = "update handoffs set status = 'completed', result = '{\"ok\": 1}' where id = $1"


async def test_a_plain_agent_completes_its_row(world: World) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)

    async with world.role(PLAIN):
        await world.execute(COMPLETE + " and attempt = 1", handoff)

    row = await world.the(handoff)
    assert (row["outcome"], row["result"]) == ("succeeded", {"ok": 1})
    assert row["finished_at"] is not None
    assert await world.shows("pia") == ("idle", None)


async def test_a_completion_without_the_token_is_refused_where_the_holder_has_an_incarnation(
    world: World,
) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)

    async with world.refused("ZH001", PLAIN):
        await world.execute(COMPLETE, handoff)


async def test_a_plain_completion_of_an_attempt_that_is_over_meets_no_row(world: World) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)
    await world.age_heartbeat("pia", timedelta(seconds=121))
    await world.sweep("take_back_lapsed")
    await world.age_heartbeat("pia", timedelta(0))
    await world.dispatch("pia")

    assert await world.execute(COMPLETE + " and attempt = 1", handoff) == "UPDATE 0"


async def test_a_partial_result_of_a_plain_agent_goes_when_the_work_is_taken_back(
    world: World,
) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)
    async with world.role(PLAIN):
        await world.execute("update handoffs set result = '{\"half\": 1}' where id = $1", handoff)
    await world.age_heartbeat("pia", timedelta(seconds=121))

    assert await world.sweep("take_back_lapsed") == 1

    assert (await world.the(handoff))["result"] is None


async def test_a_partial_result_of_a_plain_agent_goes_when_it_fails(world: World) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)
    await world.execute("update handoffs set result = '{\"half\": 1}' where id = $1", handoff)

    assert await world.fail(handoff, 1, pia) == "applied"

    assert (await world.the(handoff))["result"] is None


@pytest.mark.parametrize("first", ["completion", "status"])
async def test_a_plain_agent_completes_and_says_idle_in_one_transaction_in_either_order(
    world: World, first: str
) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)
    words = [COMPLETE.replace("$1", f"'{handoff}'"), "update agent_status set status = 'idle'"]

    async with world.role(PLAIN):
        for word in words if first == "completion" else words[::-1]:
            await world.execute(word)

    assert await world.state(handoff) == ("completed", "succeeded")
    assert await world.shows("pia") == ("idle", None)


# --- follow-ups -------------------------------------------------------------------------------


async def with_follow_ups(world: World, handoff: UUID, attempt: int, life: Life) -> str:
    """Complete, and hand two tasks on."""
    items = [{"to_agent": "bob", "task_description": f"step {n}"} for n in (1, 2)]
    return str(
        await world.value(
            "select complete_handoff($1, $2, $3, $4, null, $5)",
            handoff,
            attempt,
            life.name,
            life.incarnation,
            items,
        )
    )


async def test_follow_ups_come_with_the_completion_as_its_children(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    assert await with_follow_ups(world, handoff, 1, ada) == "applied"

    rows = await world.rows("select * from handoffs where to_agent = 'bob' order by position")
    assert [row["task_description"] for row in rows] == ["step 1", "step 2"]
    assert {(row["parent_id"], row["from_agent"], row["hop"]) for row in rows} == {
        (handoff, "ada", 1)
    }


@pytest.mark.parametrize("attempt", [1, 2])
async def test_follow_ups_come_once_and_never_with_a_stale_token(
    world: World, attempt: int
) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    if attempt == 1:
        await with_follow_ups(world, handoff, 1, ada)
    already = await world.value("select count(*) from handoffs")

    assert await with_follow_ups(world, handoff, attempt, ada) in {"repeated", "stale"}

    assert await world.value("select count(*) from handoffs") == already


async def test_a_refused_follow_up_refuses_the_completion(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    async with world.refused("23514"):
        await world.execute(
            "select complete_handoff($1, 1, 'ada', $2, null, $3)",
            handoff,
            ada.incarnation,
            [{"to_agent": "bob", "task_description": " "}],
        )

    assert await world.state(handoff) == ("in_progress", None)


@pytest.mark.parametrize(
    "deed",
    [
        "accept_handoff($1, 1, 'ada')",
        "complete_handoff($1, 1, 'ada')",
        "fail_handoff($1, 1, 'ada')",
        "report_progress($1, 1, 'ada')",
        "cancel_handoff($1)",
        "retry_handoff($1)",
    ],
)
async def test_an_unknown_handoff_is_named(world: World, deed: str) -> None:
    async with world.refused("ZH004"):
        await world.execute(f"select from {deed}", uuid4())
