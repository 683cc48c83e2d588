"""Anything in any order: Hypothesis drives the life cycle, and a model knows what must come of it.

The model is `coordinator.core.lifecycle`. It does not guess whom a dispatch picks: it looks, checks
that the choice was right, and goes on from there. Each run is one transaction, rolled back.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
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
    AGENT_TRANSITIONS,
    COMPLETED,
    IN_PROGRESS,
    TRANSITIONS,
    AgentEvent,
    AgentState,
    Event,
    State,
)
from tests.integration.schema import test_agent_life_cycle as agent_cases
from tests.integration.schema import test_handoff_life_cycle as handoff_cases
from tests.integration.schema.test_concurrency import broken_rules
from tests.integration.schema.test_events import present, replayed
from tests.integration.schema.world import Life, World
from tests.support.postgres import Database

NAMES = ("ada", "bob", "pia")
ADDRESSES = (*NAMES, "crew")
PLAIN_ONES = {"pia"}
PAST = timedelta(seconds=1)
EXAMPLES, STEPS = 30, 40

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Known:
    """What the model knows of a handoff."""

    state: State
    attempt: int
    max_attempts: int
    retries: int = 0
    holder: str | None = None
    due: bool = True


HANDOFFS = st.integers(0, 30)
"""Which handoff: even numbers choose among those that an agent holds, if there are any."""
SOMETHING = precondition(lambda self: bool(self.known))


class LifeCycle(RuleBasedStateMachine):
    """One database, three agents of one crew, and whatever happens to them."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self.world = self._do(self._stack.enter_async_context(World.on(database)))
        self._do(self._stack.enter_async_context(self.world.savepoint()))
        self.lives: dict[str, Life] = {}
        self.agents: dict[str, AgentState] = {}
        self.silent: set[str] = set()
        self.known: dict[UUID, Known] = {}

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
            self.agents[name] = AgentState.IDLE
        for address in (*NAMES, "crew"):
            self._hand_off(address, "eve", 0, 2)
        self._dispatch()

    @rule(name=st.sampled_from(NAMES))
    def heartbeat(self, name: str) -> None:
        self._do(self.world.heartbeat(self.lives[name]))
        self.silent.discard(name)
        self._agent(name, AgentEvent.HEARTBEAT)

    @rule(name=st.sampled_from(NAMES))
    def falls_silent(self, name: str) -> None:
        self._do(self.world.age_heartbeat(name, timedelta(seconds=46)))
        self.silent.add(name)
        self._do(self.world.sweep("block_stale_agents"))
        for silent in self.silent:
            self._agent(silent, AgentEvent.SILENCE)

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from(["idle", "working", "blocked"]))
    def word(self, name: str, status: str) -> None:
        event = AgentEvent(f"say {status}")
        answer = self._do(self.world.answered(lambda: self._say(name, status)))
        legal = (self.agents[name], event) in AGENT_TRANSITIONS
        if legal:
            self.silent.discard(name)
        assert answer == ("said" if legal else "ZH011")
        self._agent(name, event)

    async def _say(self, name: str, status: str) -> str:
        await self.world.say(self.lives[name], status)
        return "said"

    @rule(name=st.sampled_from(NAMES), reborn=st.booleans())
    def register(self, name: str, reborn: bool) -> None:
        reborn = reborn and name not in PLAIN_ONES
        held = self._held_by(name)
        life = Life(name, uuid4()) if reborn else self.lives[name]
        self._do(self.world.register(life, roles=["crew"]))
        self.lives[name] = life
        self.silent.discard(name)
        if reborn and held:
            self._ended(held, self._last(held, Event.TAKE_BACK, Event.LAST_TAKE_BACK), None)
        self._agent(name, AgentEvent.REPLACE if reborn else AgentEvent.REGISTER)

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        held = self._held_by(name)
        life = self.lives[name]
        self._do(self.world.execute("select leave($1, $2)", name, life.incarnation))
        if held:
            self._ended(held, self._last(held, Event.TAKE_BACK, Event.LAST_TAKE_BACK), None)
        self._agent(name, AgentEvent.LEAVE)

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
        self.known[handoff] = Known(State.PENDING, 0, max_attempts)

    @precondition(lambda self: AgentState.IDLE in self.agents.values())
    @rule()
    def dispatch(self) -> None:
        self._dispatch()

    def _dispatch(self) -> None:
        queue = self._do(self._queue())
        given, left_over = self._do(self.world.dispatch(*ADDRESSES))
        picked = self._do(self._picked(queue))
        assert given == len(picked)
        for handoff, name in picked.items():
            life = self.lives[name]
            event = Event.PLAIN_DISPATCH if life.incarnation is None else Event.DISPATCH
            known = self.known[handoff]
            self.known[handoff] = replace(
                known,
                state=TRANSITIONS[known.state, event],
                attempt=known.attempt + 1,
                holder=name,
            )
            self.agents[name] = AGENT_TRANSITIONS[self.agents[name], AgentEvent.DISPATCH]
        self._nobody_was_overtaken(queue, set(picked), left_over=left_over)

    async def _queue(self) -> list[tuple[UUID, str]]:
        rows = await self.world.rows(
            "select id, to_agent from handoffs where status = 'pending' and due"
            " order by to_agent, priority desc, position"
        )
        return [(row[0], row[1]) for row in rows]

    async def _picked(self, queue: list[tuple[UUID, str]]) -> dict[UUID, str]:
        rows = await self.world.rows(
            "select id, assigned_agent, to_agent from handoffs"
            " where status = 'in_progress' and id = any ($1)",
            [handoff for handoff, _ in queue],
        )
        assert all(row["to_agent"] in (row["assigned_agent"], "crew") for row in rows)
        return {row["id"]: row["assigned_agent"] for row in rows}

    def _nobody_was_overtaken(
        self, queue: list[tuple[UUID, str]], picked: set[UUID], *, left_over: bool
    ) -> None:
        for address in ADDRESSES:
            given = [handoff in picked for handoff, to in queue if to == address]
            assert given == sorted(given, reverse=True)
            able = NAMES if address == "crew" else (address,)
            idle = [n for n in able if self.agents[n] is AgentState.IDLE and n not in self.silent]
            assert all(given) or not idle or left_over, "an idle agent was left beside due work"

    @SOMETHING
    @rule(choice=HANDOFFS, name=st.sampled_from(NAMES), lag=st.sampled_from([0, 0, 0, 1]))
    def accept(self, choice: int, name: str, lag: int) -> None:
        handoff = self._some(choice)
        name, attempt, stands = self._token(handoff, name, lag)
        before = self.known[handoff]
        answer = self._do(
            self.world.answered(lambda: self._accept(handoff, attempt, self.lives[name]))
        )
        assert (answer == "accepted") is stands
        if stands:
            self.known[handoff] = replace(before, state=TRANSITIONS[before.state, Event.ACCEPT])

    async def _accept(self, handoff: UUID, attempt: int, life: Life) -> str:
        await self.world.accept(handoff, attempt, life)
        return "accepted"

    @SOMETHING
    @rule(choice=HANDOFFS, name=st.sampled_from(NAMES), lag=st.sampled_from([0, 0, 0, 1]))
    def complete(self, choice: int, name: str, lag: int) -> None:
        handoff = self._some(choice)
        name, attempt, stands = self._token(handoff, name, lag)
        verdict = self._do(self.world.complete(handoff, attempt, self.lives[name]))
        self._settled(handoff, name, Event.COMPLETE, verdict, stands)

    @SOMETHING
    @rule(
        choice=HANDOFFS,
        name=st.sampled_from(NAMES),
        lag=st.sampled_from([0, 0, 0, 1]),
        retry=st.booleans(),
    )
    def fail(self, choice: int, name: str, lag: int, retry: bool) -> None:
        handoff = self._some(choice)
        name, attempt, stands = self._token(handoff, name, lag)
        event = self._last(handoff, Event.FAIL, Event.LAST_FAIL) if retry else Event.LAST_FAIL
        verdict = self._do(self.world.fail(handoff, attempt, self.lives[name], retry=retry))
        self._settled(handoff, name, event, verdict, stands)
        if verdict == "applied" and self.known[handoff].state is State.PENDING:
            self.known[handoff] = replace(self.known[handoff], due=False)

    def _settled(self, handoff: UUID, name: str, event: Event, verdict: str, stands: bool) -> None:
        assert (verdict == "applied") is stands
        if stands:
            self._ended(handoff, event, AgentEvent.FREED)
        elif verdict == "stale":
            self._agent(name, AgentEvent.LATE_WORD)

    @SOMETHING
    @rule(choice=HANDOFFS)
    def complete_by_plain_sql(self, choice: int) -> None:
        handoff = self._some(choice)
        known = self.known[handoff]
        plain = known.holder is not None and self.lives[known.holder].incarnation is None
        answer = self._do(self.world.answered(lambda: self._complete_by_plain_sql(handoff)))
        if known.state is State.SUCCEEDED or (known.state in IN_PROGRESS and plain):
            assert answer == "done"
        else:
            assert answer == ("ZH001" if known.state in IN_PROGRESS else "ZH005")
        if known.state in IN_PROGRESS and plain:
            self._ended(handoff, Event.COMPLETE, AgentEvent.FREED)

    async def _complete_by_plain_sql(self, handoff: UUID) -> str:
        await self.world.execute(
            "update handoffs set status = 'completed', outcome = 'succeeded' where id = $1", handoff
        )
        return "done"

    @SOMETHING
    @rule(choice=HANDOFFS)
    def cancel(self, choice: int) -> None:
        handoff = self._some(choice)
        known = self.known[handoff]
        answer = self._do(self.world.cancel(handoff))
        after = TRANSITIONS.get((known.state, Event.CANCEL))
        if after is State.CANCELLED:
            assert answer == "cancelled"
            self._ended(handoff, Event.CANCEL, AgentEvent.FREED)
        else:
            assert answer == ("completed" if after is None else "requested")
            self.known[handoff] = replace(known, state=after or known.state)

    @SOMETHING
    @rule(choice=HANDOFFS)
    def retry(self, choice: int) -> None:
        handoff = self._some(choice)
        known = self.known[handoff]
        answer = self._do(self.world.answered(lambda: self._retry(handoff)))
        assert answer == ("done" if known.state in COMPLETED else "ZH005")
        if known.state in COMPLETED:
            self.known[handoff] = Known(
                State.PENDING, known.attempt, known.attempt + 2, known.retries + 1
            )

    async def _retry(self, handoff: UUID) -> str:
        await self.world.retry(handoff, 2)
        return "done"

    @SOMETHING
    @rule(choice=HANDOFFS)
    def delete(self, choice: int) -> None:
        handoff = self._some(choice)
        known = self.known.pop(handoff)
        self._do(self.world.execute("delete from handoffs where id = $1", handoff))
        if known.holder:
            self._agent(known.holder, AgentEvent.FREED)

    # --- time passes --------------------------------------------------------------------------

    @precondition(lambda self: any(not known.due for known in self.known.values()))
    @rule()
    def work_ripens(self) -> None:
        self._do(
            self.world.execute(
                "update handoffs set available_at = now() - interval '1 second'"
                " where status = 'pending' and not due"
            )
        )
        ripe = [h for h, known in self.known.items() if not known.due]
        assert self._do(self.world.sweep("make_due")) == len(ripe)
        for handoff in ripe:
            self.known[handoff] = replace(self.known[handoff], due=True)

    @SOMETHING
    @rule(choice=HANDOFFS)
    def an_attempt_times_out(self, choice: int) -> None:
        handoff = self._some(choice)
        self._swept(
            handoff,
            "attempt_ends_at",
            "take_back_timed_out",
            self._last(handoff, Event.TAKE_BACK, Event.LAST_TAKE_BACK),
        )

    @SOMETHING
    @rule(choice=HANDOFFS)
    def a_deadline_passes(self, choice: int) -> None:
        handoff = self._some(choice)
        if self.known[handoff].state not in COMPLETED:
            self._swept(handoff, "deadline_at", "end_overdue", Event.DEADLINE)

    @SOMETHING
    @rule(choice=HANDOFFS)
    def the_cancel_grace_passes(self, choice: int) -> None:
        handoff = self._some(choice)
        if self.known[handoff].state is State.STOPPING:
            ago = timedelta(seconds=31)
            self._swept(
                handoff, "cancel_requested_at", "end_cancelled", Event.CANCEL_GRACE, ago=ago
            )

    @rule(name=st.sampled_from(NAMES))
    def an_agent_lapses(self, name: str) -> None:
        held = self._held_by(name)
        self._do(self.world.age_heartbeat(name, timedelta(seconds=121)))
        self.silent.add(name)
        assert self._do(self.world.sweep("take_back_lapsed")) == (1 if held else 0)
        if held:
            self._ended(
                held,
                self._last(held, Event.TAKE_BACK, Event.LAST_TAKE_BACK),
                AgentEvent.FREED,
            )

    def _swept(
        self, handoff: UUID, column: str, sweep: str, event: Event, *, ago: timedelta = PAST
    ) -> None:
        known = self.known[handoff]
        if known.state is not State.PENDING and known.state not in IN_PROGRESS:
            return
        if known.state is State.PENDING and event is not Event.DEADLINE:
            return
        self._do(self.world.age(handoff, column, ago))
        assert self._do(self.world.sweep(sweep)) == 1
        self._ended(handoff, event, AgentEvent.FORCED_END)

    # --- what the model thinks ----------------------------------------------------------------

    def _agent(self, name: str, event: AgentEvent) -> None:
        state = self.agents[name]
        self.agents[name] = AGENT_TRANSITIONS.get((state, event), state)

    def _ended(self, handoff: UUID, event: Event, freed: AgentEvent | None) -> None:
        known = self.known[handoff]
        after = TRANSITIONS[known.state, event]
        self.known[handoff] = replace(known, state=after, holder=None, due=True)
        if known.holder and freed:
            self._agent(known.holder, freed)

    def _some(self, choice: int) -> UUID:
        every = list(self.known)
        held = [handoff for handoff in every if self.known[handoff].holder]
        among = held if held and choice % 2 == 0 else every
        return among[choice // 2 % len(among)]

    def _held_by(self, name: str) -> UUID | None:
        return next((h for h, known in self.known.items() if known.holder == name), None)

    def _last(self, handoff: UUID, event: Event, last: Event) -> Event:
        known = self.known[handoff]
        return last if known.attempt >= known.max_attempts else event

    def _token(self, handoff: UUID, name: str, lag: int) -> tuple[str, int, bool]:
        """The holder's token mostly, else somebody else's or an old one; whether it stands."""
        known = self.known[handoff]
        if lag == 0:
            return known.holder or name, known.attempt, known.holder is not None
        return name, known.attempt - 1, False

    # --- after each step ----------------------------------------------------------------------

    @invariant()
    def every_handoff_is_where_the_table_says(self) -> None:
        rows = self._do(self.world.rows("select * from handoffs"))
        assert {row["id"]: self._seen(row) for row in rows} == self.known

    def _seen(self, row: Any) -> Known:
        held = row["status"] == "in_progress"
        return Known(
            handoff_cases.observed(row),
            row["attempt"],
            row["max_attempts"],
            row["retries"],
            row["assigned_agent"] if held else None,
            row["due"] if row["status"] == "pending" else True,
        )

    @invariant()
    def every_agent_is_where_the_table_says(self) -> None:
        for name, state in self.agents.items():
            assert self._do(agent_cases.observed(self.world, name)) is state, name

    @invariant()
    def handoffs_and_agents_agree(self) -> None:
        assert self._do(broken_rules(self.world)) == []

    @invariant()
    def the_events_tell_everything(self) -> None:
        assert self._do(replayed(self.world)) == self._do(present(self.world))


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
