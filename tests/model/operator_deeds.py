"""What operators do, and what nobody may do."""

from collections.abc import Container
from uuid import UUID

from coordinator.core.lifecycle import (
    COMPLETED,
    IN_PROGRESS,
    TRANSITIONS,
    AgentEvent,
    AgentState,
    Event,
    State,
)
from tests.model.deed import Answer, By, Deed, Rows
from tests.model.draw import NAMES, Draw


def cancel(draw: Draw) -> Deed:
    """Ask that a handoff be cancelled."""
    ledger, handoff = draw.ledger, draw.handoff()
    known = ledger.model.handoffs.get(handoff)
    after = TRANSITIONS.get((known.state, Event.CANCEL)) if known else None
    answer = {State.CANCELLED: "cancelled", None: "completed"}.get(after, "requested")

    def follow(_: Rows) -> None:
        if after is State.CANCELLED:
            ledger.model.ended(handoff, Event.CANCEL, AgentEvent.FREED)
            ledger.over(handoff)
        elif after is not None:
            ledger.model.asked_to_stop(handoff)

    return Deed(
        name="cancel",
        by=By.AGENT,
        sql="select cancel_handoff($1, $2)",
        values=(handoff, draw.text()),
        expected=[(answer,)] if known else "ZH004",
        follows=follow,
        writes=ledger.around(handoff) | ledger.frees(handoff),
    )


def retry(draw: Draw) -> Deed:
    """Reopen what has ended, with a new budget of attempts."""
    ledger = draw.ledger
    handoff = draw.handoff() if draw.now_and_then(0.2) else draw.ended() or draw.handoff()
    known, attempts = ledger.model.handoffs.get(handoff), draw.one((0, 1, 2, 2, 3))
    expected: Answer = "ZH004"
    if known is not None:
        expected = [("pending", known.attempt + attempts)]
        if known.state not in COMPLETED:
            expected = "ZH005"
        elif attempts == 0:
            expected = "ZH006"

    def follow(_: Rows) -> None:
        ledger.model.reopened(handoff, attempts)
        ledger.sent[handoff].result = None

    return Deed(
        name="retry",
        by=By.DAEMON,
        sql="select status, max_attempts from retry_handoff($1, $2)",
        values=(handoff, attempts),
        expected=expected,
        follows=follow,
        writes=frozenset({handoff}),
    )


def delete(draw: Draw) -> Deed:
    """Delete a handoff, whatever its state."""
    return _delete(draw, draw.handoff())


def prune(draw: Draw) -> Deed:
    """Delete what has ended, as an operator does in the long run."""
    return _delete(draw, draw.ended() or draw.handoff())


def _delete(draw: Draw, handoff: UUID) -> Deed:
    ledger = draw.ledger
    known = handoff in ledger.sent
    return Deed(
        name="delete",
        by=By.DAEMON,
        sql="delete from handoffs where id = $1 returning id",
        values=(handoff,),
        expected=[(handoff,)] if known else [],
        follows=lambda _: ledger.deleted(handoff) if known else None,
        writes=ledger.around(handoff) | ledger.frees(handoff),
    )


def prioritize(draw: Draw) -> Deed:
    """Change the priority of what has not ended."""
    ledger, handoff, priority = draw.ledger, draw.handoff(), draw.chance.randint(-1, 3)
    known = ledger.model.handoffs.get(handoff)
    ended = known is not None and known.state in COMPLETED
    changes = known is not None and ledger.sent[handoff].priority != priority

    def follow(rows: Rows) -> None:
        if rows:
            ledger.sent[handoff].priority = priority

    return Deed(
        name="prioritize",
        by=By.DAEMON,
        sql="update handoffs set priority = $2 where id = $1 returning id",
        values=(handoff, priority),
        expected="ZH005" if ended and changes else [(handoff,)] if known else [],
        follows=follow,
        writes=frozenset({handoff}),
    )


# --- what nobody may do, whoever he is -----------------------------------------------------------

_IMMUTABLE = (
    "from_agent = 'somebody'",
    "to_agent = 'somebody'",
    "hop = hop + 1",
    "root_id = gen_random_uuid()",
    "parent_id = gen_random_uuid()",
    "idempotency_key = 'another'",
    "id = gen_random_uuid()",
    "attempt = attempt + 1",
)


def forge(draw: Draw) -> Deed:
    """Change what never changes: who sent it, where it comes from, how often it was tried."""
    handoff, change = draw.handoff(), draw.one(_IMMUTABLE)
    known = handoff in draw.ledger.sent
    return _misdeed(f"forge {change}", change, handoff, "ZH012" if known else [])


def start_by_hand(draw: Draw) -> Deed:
    """Only the coordinator moves a handoff to in_progress."""
    return _unless(draw, "start by hand", "status = 'in_progress'", IN_PROGRESS)


def wait_again_by_hand(draw: Draw) -> Deed:
    """Nobody moves it back but the functions."""
    change = "status = 'pending', outcome = null, finished_at = null"
    return _unless(draw, "wait again by hand", change, {State.PENDING})


def rewrite_the_end(draw: Draw) -> Deed:
    """An outcome comes with the end, and is final."""
    ledger, handoff = draw.ledger, draw.handoff()
    known = ledger.model.handoffs.get(handoff)
    expected: Answer = []
    if known is not None:
        expected = "ZH005" if known.state in COMPLETED else "23514"
        if known.state is State.CANCELLED:
            expected = [(handoff,)]
    return _misdeed("rewrite the end", "outcome = 'cancelled'", handoff, expected)


def rob(draw: Draw) -> Deed:
    """Write another holder into a handoff."""
    handoff = draw.handoff()
    known = draw.ledger.model.handoffs.get(handoff)
    expected: Answer = []
    if known is not None:
        expected = "ZH005" if known.state in COMPLETED else "ZH012"
    return _misdeed("rob", "assigned_agent = 'mallory'", handoff, expected)


def give_to_the_busy(draw: Draw) -> Deed | None:
    """Give due work by hand to who holds some, or may not be given any."""
    ledger, name = draw.ledger, draw.one((*NAMES, "mallory"))
    due = [queue[0] for queue in ledger.queues().values()]
    if not due or ledger.model.agents.get(name) is AgentState.IDLE:
        return None
    handoff = draw.one(due)
    return Deed(
        name="give to the busy",
        by=By.OWNER,
        sql="update handoffs set status = 'in_progress', attempt = attempt + 1,"
        " assigned_agent = $2, dispatched_at = now() where id = $1 returning id",
        values=(handoff, name),
        expected="23505" if name in ledger.model.holds else "ZH005",
        reads=frozenset({handoff, name}),
    )


_ALWAYS_REFUSED = (
    ("rewrite the events", By.OWNER, "update coordination_events set agent = 'me'", "ZH012"),
    ("read the queue", By.AGENT, "select from handoffs limit 1", "42501"),
    ("rob by rights of an agent", By.AGENT, "delete from agent_status", "42501"),
    ("reset the attempts", By.PLAIN, "update handoffs set attempt = 0", "42501"),
    (
        "retry by rights of an agent",
        By.AGENT,
        "select from retry_handoff(gen_random_uuid())",
        "42501",
    ),
    (
        "arrive with work",
        By.OWNER,
        "insert into agent_status (agent_name, current_handoff) values ('me', gen_random_uuid())",
        "ZH012",
    ),
)


def break_a_law(draw: Draw) -> Deed:
    """Do what is refused whatever the rows are."""
    name, by, sql, refusal = draw.one(_ALWAYS_REFUSED)
    return Deed(name=name, by=by, sql=sql, expected=refusal)


def change_an_agent(draw: Draw) -> Deed:
    """Rename an agent, or write by hand what it holds."""
    name = draw.one(NAMES)
    change = draw.one(("agent_name = 'me'", "current_handoff = gen_random_uuid()"))
    return Deed(
        name=f"change an agent: {change}",
        by=By.OWNER,
        sql=f"update agent_status set {change} where agent_name = $1 returning id",
        values=(name,),
        expected="ZH012" if name in draw.ledger.model.agents else [],
        reads=frozenset({name}),
    )


def _unless(draw: Draw, name: str, change: str, states: Container[State]) -> Deed:
    """Refused, unless it is so already."""
    handoff = draw.handoff()
    known = draw.ledger.model.handoffs.get(handoff)
    expected: Answer = []
    if known is not None:
        expected = [(handoff,)] if known.state in states else "ZH005"
    return _misdeed(name, change, handoff, expected)


def _misdeed(name: str, change: str, handoff: UUID, expected: Answer) -> Deed:
    return Deed(
        name=name,
        by=By.OWNER,
        sql=f"update handoffs set {change} where id = $1 returning id",
        values=(handoff,),
        expected=expected,
        reads=frozenset({handoff}),
    )
