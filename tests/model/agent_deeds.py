"""What agents say of themselves: heartbeats, and what they do."""

from collections.abc import Hashable
from datetime import timedelta
from uuid import UUID

from coordinator.core.lifecycle import AgentEvent, AgentState, State
from tests.model.deed import Answer, By, Deed, Order, Rows
from tests.model.draw import NAMES, STRANGERS, Draw
from tests.model.ledger import Ledger

_WORDS = {
    "idle": AgentEvent.SAY_IDLE,
    "working": AgentEvent.SAY_WORKING,
    "blocked": AgentEvent.SAY_BLOCKED,
}


def heartbeat(draw: Draw) -> Deed:
    """One agent beats, and may ask whether it should go on with an attempt."""
    ledger, name = draw.ledger, draw.one((*NAMES, *NAMES, *STRANGERS))
    life = draw.life(name)
    token: tuple[UUID | None, int | None] = (None, None)
    if draw.now_and_then(0.5):
        claim = draw.claim()
        token = (claim.handoff, claim.attempt)
    refusal = ledger.refusal_of_life(name, life)
    expected: Answer
    if refusal is None:
        *shown, held, attempt, _, stopping = _heard(ledger, name)
        asked = token[0] is not None
        expected = [
            (*shown, held, attempt, asked and (stopping or (held, attempt) != token)),
        ]
    else:
        expected = refusal
    return Deed(
        name="heartbeat",
        by=By.AGENT,
        sql="select * from heartbeat($1, $2, $3, $4)",
        values=(name, life, *token),
        expected=expected,
        follows=lambda _: ledger.heard(name, AgentEvent.HEARTBEAT),
        writes=touched(ledger, name, AgentEvent.HEARTBEAT),
        reads=what_holds(ledger, name),
    )


def heartbeats(draw: Draw) -> Deed:
    """The agents of one process beat at once; who has another life is left out of the answer."""
    ledger = draw.ledger
    names = sorted(draw.chance.sample(NAMES, draw.chance.randint(1, 6)))
    life = draw.life(names[0])
    mine = [name for name in names if ledger.refusal_of_life(name, life) is None]

    def follow(_: Rows) -> None:
        for name in mine:
            ledger.heard(name, AgentEvent.HEARTBEAT)

    written = [touched(ledger, name, AgentEvent.HEARTBEAT) for name in names]
    return Deed(
        name="heartbeat_many",
        by=By.AGENT,
        sql='select * from heartbeat_many($1, $2) order by agent_name collate "C"',
        values=(names, life),
        expected=[(name, *_heard(ledger, name)) for name in mine],
        follows=follow,
        writes=frozenset().union(*written),
        reads=frozenset().union(*(what_holds(ledger, name) for name in names)),
    )


def say(draw: Draw) -> Deed:
    """An agent says what it does."""
    ledger, name = draw.ledger, draw.one((*NAMES, *NAMES, *STRANGERS))
    life, status = draw.life(name), draw.one((*_WORDS, *_WORDS, "asleep"))
    reason = None
    if status == "blocked":
        reason = draw.one((None, "lunch", draw.text(), "stale", "left", "unresponsive"))
    refusal = "ZH006" if reason in {"stale", "left", "unresponsive"} else None
    refusal = refusal or ledger.refusal_of_life(name, life)
    return _word(
        draw,
        name,
        status,
        reason or "said",
        refusal,
        by=By.AGENT,
        sql="select status, blocked_reason from set_agent_status($1, $2, $3, $4)",
        values=(name, status, life, reason),
    )


def say_in_plain_sql(draw: Draw) -> Deed:
    """Somebody who knows only the table says it; a clock in the future is clamped."""
    name, status = draw.one(NAMES), draw.one((*_WORDS, *_WORDS, "asleep"))
    reason = "lunch" if status == "blocked" else None
    return _word(
        draw,
        name,
        status,
        reason or "said",
        None,
        by=By.PLAIN,
        sql="update agent_status set status = $2, blocked_reason = $3, last_seen = now() + $4"
        " where agent_name = $1 returning status, blocked_reason",
        values=(name, status, reason, draw.one((timedelta(0), timedelta(days=1)))),
    )


def _word(
    draw: Draw,
    name: str,
    status: str,
    reason: str,
    refusal: str | None,
    *,
    by: By,
    sql: str,
    values: tuple[object, ...],
) -> Deed:
    ledger = draw.ledger
    event = _WORDS.get(status, AgentEvent.SAY_WORKING)
    expected: Answer = []
    if name in ledger.model.agents:
        if refusal is None and not ledger.model.may(name, event):
            refusal = "ZH011"
        elif refusal is None and status not in _WORDS:
            refusal = "23514"
        after = ledger.state_after(name, event)
        said = after in {AgentState.SAID, AgentState.SAID_HOLDING}
        expected = [("blocked", reason) if said else ledger.shows(name, after)]

    def follow(rows: Rows) -> None:
        if rows:
            ledger.heard(name, event)
            ledger.reasons[name] = reason

    return Deed(
        name=f"say {status}" + (" in plain SQL" if by is By.PLAIN else ""),
        by=by,
        sql=sql,
        values=values,
        expected=refusal or expected,
        follows=follow,
        writes=touched(ledger, name, event),
    )


def beat_in_plain_sql(draw: Draw) -> Deed:
    """Only `last_seen` is a heartbeat, and the future is now."""
    ledger, name = draw.ledger, draw.one(NAMES)
    known = name in ledger.model.agents
    expected: Answer = []
    if known:
        expected = [ledger.shows(name, ledger.state_after(name, AgentEvent.HEARTBEAT))]
    return Deed(
        name="beat in plain SQL",
        by=By.PLAIN,
        sql="update agent_status set last_seen = now() + $2 where agent_name = $1"
        " returning status, blocked_reason",
        values=(name, draw.one((timedelta(0), timedelta(days=1)))),
        expected=expected,
        follows=lambda _: ledger.heard(name, AgentEvent.HEARTBEAT) if known else None,
        writes=touched(ledger, name, AgentEvent.HEARTBEAT),
    )


def _heard(ledger: Ledger, name: str) -> tuple[object, ...]:
    """What a heartbeat's answer says: shown, held, attempt, whether taken up, whether to stop."""
    shown = ledger.shows(name, ledger.state_after(name, AgentEvent.HEARTBEAT))
    held = ledger.model.holds.get(name)
    if held is None:
        return (*shown, None, None, False, False)
    known = ledger.model.handoffs[held]
    return (
        *shown,
        held,
        known.attempt,
        held in ledger.taken_up,
        known.state is State.STOPPING,
    )


def touched(ledger: Ledger, name: str, event: AgentEvent) -> frozenset[Hashable]:
    """What a deed writes that makes this happen to an agent."""
    if name in ledger.model.agents and ledger.becomes_idle(name, event):
        return frozenset({name, Order.IDLENESS})
    return frozenset({name})


def what_holds(ledger: Ledger, name: str) -> frozenset[Hashable]:
    """The handoff that an agent holds, as what a deed touches."""
    held = ledger.model.holds.get(name)
    return frozenset() if held is None else frozenset({held})
