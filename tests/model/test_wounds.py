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

OPERATIONS = 4000
TRIGGERS_AND_TOKENS = (
    "handoffs_1_complete",
    "handoffs_3_refuse",
    "handoffs_deleted",
    "agent_status_2_speak",
    "agent_status_arrived",
    "coordination.is_token: h.attempt = is_token.attempt",
    "coordination.is_token: h.held_by is not distinct from is_token.incarnation",
    "public.heartbeat: a.incarnation is not distinct from heartbeat.incarnation",
    "a lapsed attempt has no last one",
    "a forced end frees",
    "dispatch believes the status",
    "dispatch meets twice",
)
"""Wounds of the mutation tests."""
_DROP = "alter table handoffs drop constraint"
CONSTRAINTS: Mapping[str, str] = {
    "a task may be blank": f"{_DROP} task_description_must_not_be_blank",
    "an agent may hold two": "drop index one_handoff_in_progress_per_agent",
    "an outcome may come first": f"{_DROP} outcome_exactly_when_completed",
}
WOUNDS: Mapping[str, Mutation] = {
    **{name: one.mutation for name, one in wounds() if name in TRIGGERS_AND_TOKENS},
    **{name: Mutation(sql=sql) for name, sql in CONSTRAINTS.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TRIGGERS_AND_TOKENS, *CONSTRAINTS])
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
