"""The driver is no ornament: with one rule of the schema broken, it finds that out."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import uvloop

from tests.integration.schema.mutation import VARIABLE, Mutation, wound
from tests.integration.schema.wounds import wounds
from tests.model.deed import Contradiction
from tests.model.driver import driver
from tests.support.postgres import Cluster

OPERATIONS = 3000
OF_THE_MUTATION_TESTS = (
    "handoffs_1_complete",
    "handoffs_3_refuse",
    "agent_status_arrived",
    "coordination.is_token: h.attempt = is_token.attempt",
    "public.heartbeat: a.incarnation is not distinct from heartbeat.incarnation",
    "a lapsed attempt has no last one",
    "dispatch believes the status",
)
OTHERS: Mapping[str, str] = {
    "a name may be anything": (
        "alter table agent_status drop constraint agent_name_must_be_1_to_128_printable_characters"
    ),
    "an agent may hold two": "drop index one_handoff_in_progress_per_agent",
}
WOUNDS: Mapping[str, Mutation] = {
    **{name: one.mutation for name, one in wounds() if name in OF_THE_MUTATION_TESTS},
    **{name: Mutation(sql=sql) for name, sql in OTHERS.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OF_THE_MUTATION_TESTS, *OTHERS])
def test_the_driver_finds_a_broken_rule(
    name: str, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WOUNDS[name].write(tmp_path / "mutation.json")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mutation.json"))

    with pytest.raises(Contradiction):
        uvloop.run(live(cluster))


@pytest.mark.slow
def test_the_driver_finds_nothing_where_no_rule_is_broken(cluster: Cluster) -> None:
    """The same life on a schema that is whole."""
    uvloop.run(live(cluster))


async def live(cluster: Cluster) -> None:
    """Do many operations on a schema that is wounded if that is asked."""
    async with cluster.database() as database:
        await wound(database)
        async with driver(database, "a wound") as life:
            await life.run(OPERATIONS)
