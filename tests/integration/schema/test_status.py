"""The picture of everything that `coordinator status` shows."""

import anyio

from tests.integration.schema.world import World

SOON_S = 5.0
"""To ask every agent for every handoff took minutes; a list of both takes a tenth of a second."""


async def test_addresses_that_nobody_answers_are_found_among_many_agents_and_handoffs(
    committed: World,
) -> None:
    await committed.execute(
        "select from generate_series(1, 5000) n,"
        " register_agent('agent-' || n, gen_random_uuid(), '{reviewer}')"
    )
    await committed.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', a.address, 'do it'"
        " from unnest('{nobody,reviewer,agent-7}'::text[]) a (address), generate_series(1, 10000)"
    )

    with anyio.fail_after(SOON_S):
        [row] = await committed.run("operator_status")

    assert (row["due"], row["unanswered"]) == (30_000, ["nobody"])
