"""Anything in any order: Hypothesis drives the life cycle, and a model knows what must come of it.

The model (`tests.model.model`) walks the tables of `coordinator.core.lifecycle`. Each run is one
transaction, rolled back; `tests.model.driver` does the same by the million, committed.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coordinator.core.lifecycle import (
    COMPLETED,
    IN_PROGRESS,
    TRANSITIONS,
    AgentEvent,
    AgentState,
    Event,
    State,
)
from tests.integration.schema.test_concurrency import broken_rules
from tests.integration.schema.test_events import replayed
from tests.integration.schema.world import Life, World
from tests.model import seen
from tests.model.model import Model
from tests.model.replay import AGENTS, HANDOFFS, by_key
from tests.support.postgres import Database

NAMES = ("ada", "bob", "pia")
ADDRESSES = (*NAMES, "crew")
PLAIN_ONES = {"pia"}
PAST = timedelta(seconds=1)
EXAMPLES, STEPS = 30, 40

Answer = TypeVar("Answer")


CHOICES = st.integers(0, 30)
"""Which handoff: even numbers choose among those that an agent holds, if there are any."""
SOMETHING = precondition(lambda self: bool(self.model.handoffs))


class LifeCycle(RuleBasedStateMachine):
    """One database, three agents of one crew, and whatever happens to them."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self.world = self._do(self._stack.enter_async_context(World.on(database)))
        self._do(self._stack.enter_async_context(self.world.savepoint()))
        self.lives: dict[str, Life] = {}
        self.model = Model()

    def teardown(self) -> None:
        """Roll back and hang up."""
        self._do(self._stack.aclose())
        self._loop.close()

    def _do(self, deed: Coroutine[Any, Any, Answer]) -> Answer:
        return self._loop.run_until_complete(deed)

    # --- agents -------------------------------------------------------------------------------

    @initialize()
    def the_crew_arrives(self) -> None:
        for name in NAMES:
            plain = name in PLAIN_ONES
            self.lives[name] = self._do(self.world.agent(name, plain=plain, roles=["crew"]))
            self.model.agents[name] = AgentState.IDLE
        for address in ADDRESSES:
            self._hand_off(address, "eve", 0, 2)
        self._dispatch()

    @rule(name=st.sampled_from(NAMES))
    def heartbeat(self, name: str) -> None:
        self._do(self.world.heartbeat(self.lives[name]))
        self.model.silent.discard(name)
        self.model.agent(name, AgentEvent.HEARTBEAT)

    @rule(name=st.sampled_from(NAMES))
    def falls_silent(self, name: str) -> None:
        self._do(self.world.age_heartbeat(name, timedelta(seconds=46)))
        self.model.silent.add(name)
        self._do(self.world.sweep("block_stale_agents"))
        for silent in self.model.silent:
            self.model.agent(silent, AgentEvent.SILENCE)

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from(["idle", "working", "blocked"]))
    def word(self, name: str, status: str) -> None:
        event = AgentEvent(f"say {status}")
        answer = self._do(self.world.answered(lambda: self._say(name, status)))
        legal = self.model.may(name, event)
        if legal:
            self.model.silent.discard(name)
        assert answer == ("said" if legal else "ZH011")
        self.model.agent(name, event)

    async def _say(self, name: str, status: str) -> str:
        await self.world.say(self.lives[name], status)
        return "said"

    @rule(name=st.sampled_from(NAMES), reborn=st.booleans())
    def register(self, name: str, reborn: bool) -> None:
        reborn = reborn and name not in PLAIN_ONES
        held = self.model.holds.get(name)
        life = Life(name, uuid4()) if reborn else self.lives[name]
        self._do(self.world.register(life, roles=["crew"]))
        self.lives[name] = life
        self.model.silent.discard(name)
        if reborn and held:
            self.model.taken_back(held, None)
        self.model.agent(name, AgentEvent.REPLACE if reborn else AgentEvent.REGISTER)

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        held = self.model.holds.get(name)
        life = self.lives[name]
        self._do(self.world.execute("select leave($1, $2)", name, life.incarnation))
        if held:
            self.model.taken_back(held, None)
        self.model.agent(name, AgentEvent.LEAVE)

    # --- handoffs -----------------------------------------------------------------------------

    @rule(
        to=st.sampled_from(ADDRESSES),
        sender=st.sampled_from((*NAMES, "eve")),
        priority=st.integers(0, 2),
        max_attempts=st.integers(1, 3),
    )
    def hand_off(self, to: str, sender: str, priority: int, max_attempts: int) -> None:
        self._hand_off(to, sender, priority, max_attempts)
        self._dispatch()

    def _hand_off(self, to: str, sender: str, priority: int, max_attempts: int) -> None:
        handoff = self._do(
            self.world.handoff(to, from_agent=sender, priority=priority, max_attempts=max_attempts)
        )
        self.model.handed_off(handoff, max_attempts)

    @precondition(lambda self: AgentState.IDLE in self.model.agents.values())
    @rule()
    def dispatch(self) -> None:
        self._dispatch()

    def _dispatch(self) -> None:
        queues = self._do(self._queues())
        given, left_over = self._do(self.world.dispatch(*ADDRESSES))
        picked = self._do(self._picked([handoff for queue in queues.values() for handoff in queue]))
        assert given == len(picked)
        for handoff, name in picked.items():
            self.model.given(handoff, name, plain=self.lives[name].incarnation is None)
        able = {address: NAMES if address == "crew" else (address,) for address in ADDRESSES}
        assert self.model.overtaken(queues, picked, able, left_over=left_over) is None

    async def _queues(self) -> dict[str, list[UUID]]:
        rows = await self.world.rows(
            "select id, to_agent from handoffs where status = 'pending' and due"
            " order by to_agent, priority desc, position"
        )
        return {to: [row[0] for row in rows if row[1] == to] for to in ADDRESSES}

    async def _picked(self, queued: list[UUID]) -> dict[UUID, str]:
        rows = await self.world.rows(
            "select id, assigned_agent from handoffs"
            " where status = 'in_progress' and id = any ($1)",
            queued,
        )
        return {row["id"]: row["assigned_agent"] for row in rows}

    @SOMETHING
    @rule(choice=CHOICES, name=st.sampled_from(NAMES), lag=st.sampled_from([0, 0, 0, 1]))
    def accept(self, choice: int, name: str, lag: int) -> None:
        handoff = self._some(choice)
        name, attempt, stands = self._token(handoff, name, lag)
        answer = self._do(
            self.world.answered(lambda: self._accept(handoff, attempt, self.lives[name]))
        )
        assert (answer == "accepted") is stands
        if stands:
            self.model.accepted(handoff)

    async def _accept(self, handoff: UUID, attempt: int, life: Life) -> str:
        await self.world.accept(handoff, attempt, life)
        return "accepted"

    @SOMETHING
    @rule(choice=CHOICES, name=st.sampled_from(NAMES), lag=st.sampled_from([0, 0, 0, 1]))
    def complete(self, choice: int, name: str, lag: int) -> None:
        handoff = self._some(choice)
        name, attempt, stands = self._token(handoff, name, lag)
        verdict = self._do(self.world.complete(handoff, attempt, self.lives[name]))
        assert (verdict == "applied") is stands
        if stands:
            self.model.ended(handoff, Event.COMPLETE, AgentEvent.FREED)
        elif verdict == "stale":
            self.model.agent(name, AgentEvent.LATE_WORD)

    @SOMETHING
    @rule(
        choice=CHOICES,
        name=st.sampled_from(NAMES),
        lag=st.sampled_from([0, 0, 0, 1]),
        retry=st.booleans(),
    )
    def fail(self, choice: int, name: str, lag: int, retry: bool) -> None:
        handoff = self._some(choice)
        name, attempt, stands = self._token(handoff, name, lag)
        verdict = self._do(self.world.fail(handoff, attempt, self.lives[name], retry=retry))
        assert (verdict == "applied") is stands
        if stands:
            self.model.failed(handoff, retry=retry)
        elif verdict == "stale":
            self.model.agent(name, AgentEvent.LATE_WORD)

    @SOMETHING
    @rule(choice=CHOICES)
    def complete_by_plain_sql(self, choice: int) -> None:
        handoff = self._some(choice)
        known = self.model.handoffs[handoff]
        plain = known.holder is not None and self.lives[known.holder].incarnation is None
        answer = self._do(self.world.answered(lambda: self._complete_by_plain_sql(handoff)))
        if known.state is State.SUCCEEDED or (known.state in IN_PROGRESS and plain):
            assert answer == "done"
        else:
            assert answer == ("ZH001" if known.state in IN_PROGRESS else "ZH005")
        if known.state in IN_PROGRESS and plain:
            self.model.ended(handoff, Event.COMPLETE, AgentEvent.FREED)

    async def _complete_by_plain_sql(self, handoff: UUID) -> str:
        await self.world.execute(
            "update handoffs set status = 'completed', outcome = 'succeeded' where id = $1", handoff
        )
        return "done"

    @SOMETHING
    @rule(choice=CHOICES)
    def cancel(self, choice: int) -> None:
        handoff = self._some(choice)
        known = self.model.handoffs[handoff]
        answer = self._do(self.world.cancel(handoff))
        after = TRANSITIONS.get((known.state, Event.CANCEL))
        if after is State.CANCELLED:
            assert answer == "cancelled"
            self.model.ended(handoff, Event.CANCEL, AgentEvent.FREED)
        else:
            assert answer == ("completed" if after is None else "requested")
            if after is not None:
                self.model.asked_to_stop(handoff)

    @SOMETHING
    @rule(choice=CHOICES)
    def retry(self, choice: int) -> None:
        handoff = self._some(choice)
        known = self.model.handoffs[handoff]
        answer = self._do(self.world.answered(lambda: self._retry(handoff)))
        assert answer == ("done" if known.state in COMPLETED else "ZH005")
        if known.state in COMPLETED:
            self.model.reopened(handoff, 2)

    async def _retry(self, handoff: UUID) -> str:
        await self.world.retry(handoff, 2)
        return "done"

    @SOMETHING
    @rule(choice=CHOICES)
    def delete(self, choice: int) -> None:
        handoff = self._some(choice)
        self._do(self.world.execute("delete from handoffs where id = $1", handoff))
        self.model.deleted(handoff)

    # --- time passes --------------------------------------------------------------------------

    @precondition(lambda self: any(not known.due for known in self.model.handoffs.values()))
    @rule()
    def work_ripens(self) -> None:
        self._do(
            self.world.execute(
                "update handoffs set available_at = now() - interval '1 second'"
                " where status = 'pending' and not due"
            )
        )
        ripe = [h for h, known in self.model.handoffs.items() if not known.due]
        assert self._do(self.world.sweep("make_due")) == len(ripe)
        for handoff in ripe:
            self.model.ripe(handoff)

    @SOMETHING
    @rule(choice=CHOICES)
    def an_attempt_times_out(self, choice: int) -> None:
        handoff = self._some(choice)
        self._swept(
            handoff,
            "attempt_ends_at",
            "take_back_timed_out",
            self.model.last(handoff, Event.TAKE_BACK, Event.LAST_TAKE_BACK),
        )

    @SOMETHING
    @rule(choice=CHOICES)
    def a_deadline_passes(self, choice: int) -> None:
        handoff = self._some(choice)
        if self.model.handoffs[handoff].state not in COMPLETED:
            self._swept(handoff, "deadline_at", "end_overdue", Event.DEADLINE)

    @SOMETHING
    @rule(choice=CHOICES)
    def the_cancel_grace_passes(self, choice: int) -> None:
        handoff = self._some(choice)
        if self.model.handoffs[handoff].state is State.STOPPING:
            ago = timedelta(seconds=31)
            self._swept(
                handoff, "cancel_requested_at", "end_cancelled", Event.CANCEL_GRACE, ago=ago
            )

    @rule(name=st.sampled_from(NAMES))
    def an_agent_lapses(self, name: str) -> None:
        held = self.model.holds.get(name)
        self._do(self.world.age_heartbeat(name, timedelta(seconds=121)))
        self.model.silent.add(name)
        assert self._do(self.world.sweep("take_back_lapsed")) == (1 if held else 0)
        if held:
            self.model.taken_back(held, AgentEvent.FREED)

    def _swept(
        self, handoff: UUID, column: str, sweep: str, event: Event, *, ago: timedelta = PAST
    ) -> None:
        known = self.model.handoffs[handoff]
        if known.state is not State.PENDING and known.state not in IN_PROGRESS:
            return
        if known.state is State.PENDING and event is not Event.DEADLINE:
            return
        self._do(self.world.age(handoff, column, ago))
        assert self._do(self.world.sweep(sweep)) == 1
        self.model.ended(handoff, event, AgentEvent.FORCED_END)

    # --- choices ------------------------------------------------------------------------------

    def _some(self, choice: int) -> UUID:
        every = list(self.model.handoffs)
        held = [handoff for handoff in every if self.model.handoffs[handoff].holder]
        among = held if held and choice % 2 == 0 else every
        return among[choice // 2 % len(among)]

    def _token(self, handoff: UUID, name: str, lag: int) -> tuple[str, int, bool]:
        """The holder's token mostly, else somebody else's or an old one; whether it stands."""
        known = self.model.handoffs[handoff]
        if lag == 0:
            return known.holder or name, known.attempt, known.holder is not None
        return name, known.attempt - 1, False

    # --- after each step ----------------------------------------------------------------------

    @invariant()
    def every_handoff_is_where_the_table_says(self) -> None:
        rows = self._do(self.world.rows("select * from handoffs"))
        assert {row["id"]: seen.known(row) for row in rows} == self.model.handoffs

    @invariant()
    def every_agent_is_where_the_table_says(self) -> None:
        rows = self._do(self.world.rows("select * from agent_status"))
        assert {row["agent_name"]: seen.agent_state(row) for row in rows} == self.model.agents

    @invariant()
    def handoffs_and_agents_agree(self) -> None:
        assert self._do(broken_rules(self.world)) == []

    @invariant()
    def the_events_tell_everything(self) -> None:
        replay = self._do(replayed(self.world))
        assert replay.handoffs == by_key(self._do(self.world.rows(HANDOFFS)))
        assert replay.agents == by_key(self._do(self.world.rows(AGENTS)))


@pytest.mark.slow
@pytest.mark.matrix
def test_the_life_cycle_holds_whatever_happens_in_whatever_order(
    common_database: Database,
) -> None:
    class Bound(LifeCycle):
        def __init__(self) -> None:
            super().__init__(common_database)

    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
