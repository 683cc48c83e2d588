"""What agents do about themselves: beat, speak, register, leave, fall silent."""

from collections.abc import Hashable, Sequence
from datetime import timedelta
from uuid import UUID

from coordinator.core.lifecycle import AgentEvent, AgentState, State
from tests.model.deed import Answer, By, Deed, Order, Rows
from tests.model.draw import NAMES, STRANGERS, Draw
from tests.model.ledger import Ledger, Life

STALE_AFTER = timedelta(days=10)
TAKE_BACK_AFTER = timedelta(days=20)
"""So long that no real time of a run matters: rows are aged, and nothing ages by itself."""
_SECOND = timedelta(seconds=1)
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
        writes=_touched(ledger, name, AgentEvent.HEARTBEAT),
        reads=_held(ledger, name),
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

    touched = [_touched(ledger, name, AgentEvent.HEARTBEAT) for name in names]
    return Deed(
        name="heartbeat_many",
        by=By.AGENT,
        sql='select * from heartbeat_many($1, $2) order by agent_name collate "C"',
        values=(names, life),
        expected=[(name, *_heard(ledger, name)) for name in mine],
        follows=follow,
        writes=frozenset().union(*touched),
        reads=frozenset().union(*(_held(ledger, name) for name in names)),
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
        writes=_touched(ledger, name, event),
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
        writes=_touched(ledger, name, AgentEvent.HEARTBEAT),
    )


def register(draw: Draw) -> Deed:
    """An agent registers: for the first time, again, or as a new life."""
    ledger = draw.ledger
    absent = [name for name in NAMES if name not in ledger.model.agents]
    name = draw.one(absent or NAMES)
    life = ledger.lives.get(name)
    if name in absent or draw.now_and_then(0.6):
        life = draw.one((draw.identity(), draw.identity(), None, *_lives_of_others(ledger)))
    same = name not in absent and life == ledger.lives[name]
    roles = draw.roles()
    event = AgentEvent.REGISTER if same else AgentEvent.REPLACE
    after = AgentState.IDLE if name in absent else ledger.state_after(name, event)
    touched = _touched(ledger, name, event) | ({Order.IDLENESS} if name in absent else set())
    return Deed(
        name="register" if same or name in absent else "register a new life",
        by=By.AGENT,
        sql="select status, blocked_reason from register_agent($1, $2, $3)",
        values=(name, life, roles),
        expected=[ledger.shows(name, after)],
        follows=lambda _: ledger.registered(name, life, roles),
        writes=touched | _held(ledger, name) | {Order.ROLES},
    )


def register_badly(draw: Draw) -> Deed:
    """A name or a role that cannot be one is refused by its constraint."""
    name, roles = draw.one(
        [
            ("", []),
            ("two\nlines", []),
            (" ada", []),
            ("x" * 129, []),
            ("new", ["", "x"]),
            ("new", ["x\ny"]),
        ]
    )
    return Deed(
        name="register badly",
        by=By.AGENT,
        sql="select from register_agent($1, null, $2)",
        values=(name, roles),
        expected="23514",
    )


def leave(draw: Draw) -> Deed:
    """An agent says goodbye; its work is taken back."""
    ledger, name = draw.ledger, draw.one((*NAMES, *NAMES, *STRANGERS))
    life = draw.life(name)
    refusal = ledger.refusal_of_life(name, life)

    def follow(_: Rows) -> None:
        if name in ledger.model.holds:
            ledger.taken_back(ledger.model.holds[name], None)
        ledger.model.agent(name, AgentEvent.LEAVE)

    return Deed(
        name="leave",
        by=By.AGENT,
        sql="select from leave($1, $2)",
        values=(name, life),
        expected=refusal or [()],
        follows=follow,
        writes=_touched(ledger, name, AgentEvent.LEAVE) | _held(ledger, name),
    )


def delete_agent(draw: Draw) -> Deed:
    """Somebody deletes an agent's row; not while it holds work."""
    ledger, name = draw.ledger, draw.one(NAMES)
    known, holds = name in ledger.model.agents, name in ledger.model.holds
    expected: Answer = "ZH005" if holds else [(name,)] if known else []
    return Deed(
        name="delete an agent",
        by=By.DAEMON,
        sql="delete from agent_status where agent_name = $1 returning agent_name",
        values=(name,),
        expected=expected,
        follows=lambda _: ledger.forgotten(name) if known else None,
        writes=frozenset({name, Order.ROLES}),
    )


def fall_silent(draw: Draw) -> Deed | None:
    """An agent was not heard for `stale_after`, or for so long that its work lapses."""
    ledger = draw.ledger
    lapses = draw.now_and_then(0.5)
    quiet = ledger.lapsed if lapses else ledger.model.silent
    names = [name for name in ledger.model.agents if name not in quiet]
    if not names:
        return None
    name = draw.one(names)

    def follow(_: Rows) -> None:
        ledger.model.silent.add(name)
        if lapses:
            ledger.lapsed.add(name)

    return Deed(
        name="lapse" if lapses else "fall silent",
        by=By.OWNER,
        sql="update agent_status set last_seen = now() - $2::interval where agent_name = $1"
        " returning agent_name",
        values=(name, (TAKE_BACK_AFTER if lapses else STALE_AFTER) + _SECOND),
        expected=[(name,)],
        follows=follow,
        writes=frozenset({name}),
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


def _touched(ledger: Ledger, name: str, event: AgentEvent) -> frozenset[Hashable]:
    if name in ledger.model.agents and ledger.becomes_idle(name, event):
        return frozenset({name, Order.IDLENESS})
    return frozenset({name})


def _held(ledger: Ledger, name: str) -> frozenset[Hashable]:
    held = ledger.model.holds.get(name)
    return frozenset() if held is None else frozenset({held})


def _lives_of_others(ledger: Ledger) -> Sequence[Life]:
    """Agents of one process share its life."""
    return [life for life in ledger.lives.values() if life is not None][:2]
