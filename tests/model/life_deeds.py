"""How agents come and go: they register, leave, are deleted, and fall silent."""

from collections.abc import Sequence
from datetime import timedelta

from coordinator.core.lifecycle import AgentEvent, AgentState
from tests.model.agent_deeds import touched, what_holds
from tests.model.deed import Answer, By, Deed, Order, Rows
from tests.model.draw import NAMES, STRANGERS, Draw
from tests.model.ledger import Ledger, Life

STALE_AFTER = timedelta(days=10)
TAKE_BACK_AFTER = timedelta(days=20)
"""So long that no real time of a run matters: rows are aged, and nothing ages by itself."""
_SECOND = timedelta(seconds=1)


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
    written = touched(ledger, name, event) | ({Order.IDLENESS} if name in absent else set())
    return Deed(
        name="register" if same or name in absent else "register a new life",
        by=By.AGENT,
        sql="select status, blocked_reason from register_agent($1, $2, $3)",
        values=(name, life, roles),
        expected=[ledger.shows(name, after)],
        follows=lambda _: ledger.registered(name, life, roles),
        writes=written | what_holds(ledger, name) | {Order.ROLES},
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
        writes=touched(ledger, name, AgentEvent.LEAVE) | what_holds(ledger, name),
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


def _lives_of_others(ledger: Ledger) -> Sequence[Life]:
    """Agents of one process share its life."""
    return [life for life in ledger.lives.values() if life is not None][:2]
