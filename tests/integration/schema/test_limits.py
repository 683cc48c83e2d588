"""Names, sizes and ranges: what a column takes, and what the refusal is."""

from datetime import timedelta

import pytest

from tests.integration.schema.world import World

BAD_NAMES = ["", " ", " ada", "ada ", "a\nb", "a\tb", "a\x1bb", "a" * 129]
GOOD_NAMES = ["a", "a" * 128, "Ada Lovelace", "агент-7", "エージェント", 'x"; drop table y; --']


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("column", ["from_agent", "to_agent"])
async def test_a_bad_name_in_a_handoff_is_refused(world: World, column: str, name: str) -> None:
    async with world.refused("23514"):
        await world.handoff(
            **({"from_agent": name} if column == "from_agent" else {"to_agent": name})
        )


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_bad_name_of_an_agent_is_refused(world: World, name: str) -> None:
    async with world.refused("23514"):
        await world.agent(name)


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name == name.strip() or not name])
async def test_a_bad_role_is_refused(world: World, name: str) -> None:
    async with world.refused("23514"):
        await world.agent("ada", roles=["good", name])


@pytest.mark.parametrize("name", GOOD_NAMES)
async def test_an_agent_of_any_good_name_is_reached(world: World, name: str) -> None:
    ada = await world.agent(name)

    handoff = await world.held(ada, from_agent=name)

    assert await world.complete(handoff, 1, ada) == "applied"


async def test_more_than_32_roles_are_refused(world: World) -> None:
    async with world.refused("23514"):
        await world.agent("ada", roles=[f"role {n}" for n in range(33)])


@pytest.mark.parametrize("task", ["", " ", "\n\t "])
async def test_a_blank_task_is_refused(world: World, task: str) -> None:
    async with world.refused("23514"):
        await world.handoff("ada", task_description=task)


@pytest.mark.parametrize("context", [[], "text", 5, None])
async def test_a_context_that_is_no_object_is_refused(world: World, context: object) -> None:
    async with world.refused("23514" if context is not None else "23502"):
        await world.handoff("ada", context=context)


@pytest.mark.parametrize("column", ["task_description", "context"])
async def test_content_above_the_limit_is_refused(world: World, column: str) -> None:
    await world.execute("update coordination_settings set max_content_bytes = 100")
    content: object = "é" * 51 if column == "task_description" else {"text": "é" * 50}

    async with world.refused("ZH006"):
        await world.handoff("ada", **{column: content})


async def test_content_at_the_limit_is_accepted(world: World) -> None:
    await world.execute("update coordination_settings set max_content_bytes = 100")

    await world.handoff("ada", task_description="é" * 50)


@pytest.mark.parametrize("way", ["complete", "fail", "plain", "late"])
async def test_a_result_above_the_limit_is_refused(world: World, way: str) -> None:
    ada = await world.agent("ada", plain=True)
    handoff = await world.held(ada)
    await world.execute("update coordination_settings set max_content_bytes = 100")
    sql = {
        "complete": "select complete_handoff($1, 1, 'ada', null, $2)",
        "late": "select complete_handoff($1, 9, 'ada', null, $2)",
        "fail": "select fail_handoff($1, 1, 'ada', null, 'e', false, null, $2)",
        "plain": "update handoffs set status = 'completed', result = $2 where id = $1",
    }[way]

    async with world.refused("ZH006"):
        await world.execute(sql, handoff, {"text": "x" * 100})


@pytest.mark.parametrize("way", ["fail", "cancel", "progress"])
async def test_a_text_above_the_limit_is_refused(world: World, way: str) -> None:
    ada = await world.agent("ada", plain=True)
    handoff = await world.held(ada)
    await world.execute("update coordination_settings set max_content_bytes = 100")
    sql = {
        "fail": "select fail_handoff($1, 1, 'ada', null, $2)",
        "cancel": "select cancel_handoff($1, $2)",
        "progress": "select report_progress($1, 1, 'ada', null, $2)",
    }[way]

    async with world.refused("ZH006"):
        await world.execute(sql, handoff, "x" * 101)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", 1_000_001),
        ("timeout", timedelta(0)),
        ("timeout", timedelta(seconds=-1)),
        ("timeout", timedelta(days=366 * 200)),
        ("idempotency_key", ""),
        ("idempotency_key", "k" * 201),
        ("traceparent", "00-abc"),
    ],
)
async def test_a_value_out_of_its_range_is_refused(
    world: World, column: str, value: object
) -> None:
    async with world.refused("23514"):
        await world.handoff("ada", **{column: value})


@pytest.mark.parametrize("column", ["available_at", "deadline_at"])
@pytest.mark.parametrize("moment", ["infinity", "20000-01-01"])
async def test_a_moment_beyond_the_calendar_is_refused(
    world: World, column: str, moment: str
) -> None:
    async with world.refused("23514"):
        await world.execute(
            f"insert into handoffs (from_agent, to_agent, task_description, {column})"
            f" values ('eve', 'ada', 'do it', '{moment}')"
        )


async def test_a_constraints_name_says_what_is_wrong(world: World) -> None:
    rows = await world.rows(
        "select conname from pg_constraint where contype = 'c'"
        " and conrelid in ('handoffs'::regclass, 'agent_status'::regclass)"
    )

    told = ("must", "exactly", "has", "holds", "held", "with")
    assert [row[0] for row in rows if not any(word in row[0].split("_") for word in told)] == []


async def test_the_settings_have_one_row(world: World) -> None:
    async with world.refused("23505"):
        await world.execute("insert into coordination_settings default values")
    async with world.refused("23514"):
        await world.execute("insert into coordination_settings (one_row) values (false)")


@pytest.mark.parametrize(
    "change",
    [
        "max_hops = 0",
        "max_hops = 1001",
        "max_content_bytes = 0",
        "retry_delay = interval '-1 second'",
        "max_retry_delay = interval '0'",
    ],
)
async def test_a_setting_out_of_its_range_is_refused(world: World, change: str) -> None:
    async with world.refused("23514"):
        await world.execute(f"update coordination_settings set {change}")
