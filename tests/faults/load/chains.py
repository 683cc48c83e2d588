"""Whether chains are whole: a lost or doubled completion shows in what follows from it."""

from tests.integration.schema.world import World

_CHAINS = """
    select
      h.root_id,
      max((h.context ->> 'steps')::integer) as steps,
      array_agg(h.hop order by h.hop) as hops,
      array_agg(h.outcome order by h.hop) as outcomes
    from handoffs h
    where h.context ->> 'must_succeed' = 'true'
    group by h.root_id
"""


async def broken_chains(world: World) -> list[str]:
    """Say which chains of the load are not as long as they were begun, or have not succeeded."""
    broken = []
    for row in await world.rows(_CHAINS):
        whole = list(range(row["steps"])), ["succeeded"] * row["steps"]
        if (row["hops"], row["outcomes"]) != whole:
            broken.append(
                f"{row['root_id']}: {row['steps']} steps, {row['hops']} {row['outcomes']}"
            )
    return broken
