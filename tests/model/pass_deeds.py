"""What the daemon does, and the time that makes it: dispatch, sweeps, scans, looks.

A pass chooses by itself. It is done alone, its rows are looked at, and the choice is judged.
"""

from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from datetime import timedelta
from uuid import UUID

from coordinator.core.lifecycle import IN_PROGRESS, AgentEvent, AgentState, Event, State
from tests.integration.schema.mutation import statement
from tests.model.deed import By, Deed, Order, Rows, Seen, must
from tests.model.draw import ADDRESSES, NAMES, Draw
from tests.model.ledger import Clock, Ledger
from tests.model.life_deeds import STALE_AFTER, TAKE_BACK_AFTER
from tests.model.seen import known

ACCEPT_TIMEOUT = timedelta(days=10)
CANCEL_GRACE = timedelta(days=10)
LEADER = UUID(int=1)
_SECOND = timedelta(seconds=1)
_PASSED = {
    Clock.DUE: _SECOND,
    Clock.ATTEMPT: _SECOND,
    Clock.DEADLINE: _SECOND,
    Clock.UNACCEPTED: ACCEPT_TIMEOUT + _SECOND,
    Clock.GRACE: CANCEL_GRACE + _SECOND,
}
_AGE_IN: Mapping[Clock, Container[State]] = {
    Clock.ATTEMPT: IN_PROGRESS,
    Clock.DEADLINE: {State.PENDING, *IN_PROGRESS},
    Clock.UNACCEPTED: {State.DISPATCHED},
    Clock.GRACE: {State.STOPPING},
}
_BUSY = {AgentState.IDLE, AgentState.OCCUPIED, AgentState.HOLDING}
"""Who is blocked for silence; the others are blocked already."""


def time_passes(draw: Draw) -> Deed | None:
    """Let a time of a handoff run out: the row is aged, never the clock."""
    ledger, clock = draw.ledger, draw.one(list(Clock))
    ageing = [one for one in _ageing(ledger, clock) if one not in ledger.passed[clock]]
    if not ageing:
        return None
    handoff = draw.one(ageing)
    return Deed(
        name=f"let {clock.value} pass",
        by=By.OWNER,
        sql=f"update handoffs set {clock.value} = now() - $2::interval where id = $1 returning id",
        values=(handoff, _PASSED[clock]),
        expected=[(handoff,)],
        follows=lambda _: ledger.passed[clock].update({handoff: None}),
        writes=frozenset({handoff, Order.CLOCK}),
    )


def _ageing(ledger: Ledger, clock: Clock) -> Iterable[UUID]:
    handoffs = ledger.model.handoffs
    if clock is Clock.DUE:
        return [one for one in handoffs if not handoffs[one].due]
    return [one for one in handoffs if handoffs[one].state in _AGE_IN[clock]]


def dispatch(draw: Draw) -> Deed:
    """Give due work to idle agents, at some addresses or at those of some agents."""
    ledger = draw.ledger
    addresses = _some(draw, ADDRESSES)
    agents = _some(draw, NAMES) if draw.now_and_then(0.3) else []
    batch = draw.one((1, 2, 1000, 1000, 1000))
    asked = dict.fromkeys(addresses)
    for name in agents:
        if name in ledger.roles:
            asked.update(dict.fromkeys((name, *ledger.roles[name])))
    queues = {at: queue for at, queue in ledger.queues().items() if at in asked}
    able = {address: ledger.answers_to(address) for address in queues}

    def observe(rows: Rows, seen: Seen) -> None:
        [(given, left_over)] = rows
        queued = [handoff for queue in queues.values() for handoff in queue]
        now = [(one, seen.handoffs[one]) for one in queued]
        picked = {one: row["assigned_agent"] for one, row in now if row["status"] == "in_progress"}
        must(given == len(picked), f"{given} given, but {len(picked)} are in progress")
        free = [name for name in ledger.model.agents if _is_free(ledger, name)]
        must(set(picked.values()) <= set(free), f"{picked}: only {free} were free")
        could = any(queues[at] and not set(free).isdisjoint(able[at]) for at in queues)
        must(given or not could, "nothing was given though an idle agent stood beside due work")
        for handoff, name in picked.items():
            ledger.model.given(handoff, name, plain=ledger.lives[name] is None)
        cut = left_over or any(len(queue) > batch for queue in queues.values())
        wrong = ledger.model.overtaken(queues, picked, able, left_over=cut)
        must(wrong is None, wrong)

    return _pass(
        "dispatch",
        {
            "addresses": addresses,
            "agents": agents,
            "term": 1,
            "stale_after": STALE_AFTER,
            "batch": batch,
        },
        observe,
        touched=[*(one for queue in queues.values() for one in queue), *ledger.model.agents],
    )


def _is_free(ledger: Ledger, name: str) -> bool:
    return ledger.model.agents[name] is AgentState.IDLE and name not in ledger.model.silent


def block_stale_agents(draw: Draw) -> Deed:
    """Block who is silent."""
    ledger, batch = draw.ledger, _batch(draw)
    silent = [name for name in NAMES if name in ledger.model.silent]
    silent = [name for name in silent if ledger.model.agents[name] in _BUSY]

    def observe(rows: Rows, seen: Seen) -> None:
        must(rows == [(min(batch, len(silent)),)], f"{rows} of {silent}")
        for name in silent:
            if seen.agents[name]["status"] == "blocked":
                ledger.model.agent(name, AgentEvent.SILENCE)
        blocked = [name for name in silent if ledger.model.agents[name] not in _BUSY]
        must(len(blocked) == min(batch, len(silent)), f"{blocked} of {silent}")

    return _pass(
        "block_stale_agents", {"stale_after": STALE_AFTER, "batch": batch}, observe, silent
    )


def take_back_lapsed(draw: Draw) -> Deed:
    """Take back what agents hold that are silent for too long."""
    ledger = draw.ledger
    held = [
        ledger.model.holds[name]
        for name in NAMES
        if name in ledger.lapsed & ledger.model.holds.keys()
    ]
    return _sweep(
        draw,
        "take_back_lapsed",
        held,
        lambda handoff: ledger.taken_back(handoff, AgentEvent.FREED),
        take_back_after=TAKE_BACK_AFTER,
    )


def take_back_unaccepted(draw: Draw) -> Deed:
    """Take back what nobody took up."""
    ledger = draw.ledger
    return _sweep(
        draw,
        "take_back_unaccepted",
        ledger.passed[Clock.UNACCEPTED],
        lambda handoff: ledger.taken_back(handoff, AgentEvent.FORCED_END),
        accept_timeout=ACCEPT_TIMEOUT,
    )


def take_back_timed_out(draw: Draw) -> Deed:
    """Take back attempts whose own time is up."""
    ledger = draw.ledger
    return _sweep(
        draw,
        "take_back_timed_out",
        ledger.passed[Clock.ATTEMPT],
        lambda handoff: ledger.taken_back(handoff, AgentEvent.FORCED_END),
    )


def end_overdue(draw: Draw) -> Deed:
    """Fail what is past its deadline."""
    return _sweep(
        draw,
        "end_overdue",
        draw.ledger.passed[Clock.DEADLINE],
        lambda handoff: _end(draw.ledger, handoff, Event.DEADLINE),
    )


def end_cancelled(draw: Draw) -> Deed:
    """End what was asked to stop and stayed silent."""
    return _sweep(
        draw,
        "end_cancelled",
        draw.ledger.passed[Clock.GRACE],
        lambda handoff: _end(draw.ledger, handoff, Event.CANCEL_GRACE),
        cancel_grace=CANCEL_GRACE,
    )


def _end(ledger: Ledger, handoff: UUID, event: Event) -> None:
    ledger.model.ended(handoff, event, AgentEvent.FORCED_END)
    ledger.over(handoff)


def make_due(draw: Draw) -> Deed:
    """Put what has become due into the queue."""
    ledger = draw.ledger

    def ripen(handoff: UUID) -> None:
        ledger.model.ripe(handoff)
        del ledger.passed[Clock.DUE][handoff]

    return _sweep(draw, "make_due", ledger.passed[Clock.DUE], ripen)


def scan(draw: Draw) -> Deed:
    """Find where due work lies, and whether some is ripe."""
    handoffs, sent = draw.ledger.model.handoffs, draw.ledger.sent
    waiting = [one for one in handoffs if handoffs[one].state is State.PENDING]
    addresses = sorted({sent[one].to_agent for one in waiting if handoffs[one].due})
    delayed = any(not handoffs[one].due for one in waiting)
    ripe = bool(draw.ledger.passed[Clock.DUE])

    def observe(rows: Rows, _: Seen) -> None:
        [(found, next_due, due_in)] = rows
        must(sorted(found) == addresses, f"{found} are not {addresses}")
        must((next_due is not None) is delayed, f"{next_due}, delayed: {delayed}")
        must((due_in is not None and due_in <= 0) is ripe, f"{due_in}, ripe: {ripe}")

    return _pass("scan", {}, observe)


def look(draw: Draw) -> Deed:
    """Renew the reign, and see what there is to sweep; nothing for a leader of the past."""
    ledger, model, passed = draw.ledger, draw.ledger.model, draw.ledger.passed
    term = draw.one((0, 1, 1))
    expected = {
        "agents": sum(state in _BUSY for state in model.agents.values()),
        "stale": sum(model.agents[name] in _BUSY for name in model.silent),
        "lapsed": len(ledger.lapsed & model.holds.keys()),
        "overdue": bool(passed[Clock.DEADLINE]),
        "timed_out": bool(passed[Clock.ATTEMPT]),
        "to_cancel": bool(passed[Clock.GRACE]),
        "unaccepted": bool(passed[Clock.UNACCEPTED]),
    }

    def observe(rows: Rows, _: Seen) -> None:
        seen = [{name: row[name] for name in expected} for row in rows]
        must(seen == [expected] * term, f"{seen} is not {expected} in term {term}")

    limits = {"stale_after": STALE_AFTER, "take_back_after": TAKE_BACK_AFTER}
    limits |= {"accept_timeout": ACCEPT_TIMEOUT, "cancel_grace": CANCEL_GRACE}
    return _pass("look", {"term": term, "leader": LEADER, **limits}, observe)


def _some(draw: Draw, names: tuple[str, ...]) -> list[str]:
    """All of them mostly, else a few."""
    if draw.now_and_then(0.6):
        return list(names)
    return draw.chance.sample(names, draw.chance.randint(1, 5))


def _batch(draw: Draw) -> int:
    return draw.one((1, 2, 1000, 1000))


def _sweep(
    draw: Draw, name: str, due: Iterable[UUID], take_in: Callable[[UUID], None], **limits: object
) -> Deed:
    """A pass that must meet all of what is due, or as many as its batch has room for."""
    before, batch = {one: draw.ledger.model.handoffs[one] for one in due}, _batch(draw)

    def observe(rows: Rows, seen: Seen) -> None:
        must(rows == [(min(batch, len(before)),)], f"{rows} of {len(before)}, batch {batch}")
        met = [one for one in before if known(seen.handoffs[one]) != before[one]]
        must(len(met) == min(batch, len(before)), f"{len(met)} of {len(before)}, batch {batch}")
        for handoff in met:
            take_in(handoff)

    return _pass(name, {**limits, "batch": batch}, observe, before)


def _pass(
    name: str,
    parameters: dict[str, object],
    observe: Callable[[Rows, Seen], None],
    touched: Iterable[Hashable] = (),
) -> Deed:
    query = statement(name)
    return Deed(
        name=name,
        by=By.DAEMON,
        sql=query.text,
        values=tuple(query.arguments(parameters)),
        observes=observe,
        writes=frozenset(touched),
    )
