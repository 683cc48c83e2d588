"""Handing off: one or many, with keys, delays, deadlines, time limits and parents, or badly."""

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.model.deed import By, Deed, Order, Rows, must
from tests.model.draw import ADDRESSES, NAMES, STRANGERS, Draw
from tests.model.ledger import Ledger, Sent

MAX_HOPS = 3
MAX_BYTES = 20_000
LATER = timedelta(days=30)
"""So far ahead that no real time of a run reaches it."""
_KEYS = ("first", "second", "third")
_NOWHERE = "nobody"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is about to be handed off."""

    sender: str
    to: str
    task: str
    context: dict[str, Any]
    priority: int
    max_attempts: int
    delay: timedelta | None
    deadline: timedelta | None
    timeout: timedelta | None
    key: str | None
    parent: UUID | None

    @property
    def content(self) -> tuple[str, str, dict[str, Any]]:
        """What the same key must have again."""
        return self.to, self.task, self.context


def hand_off(draw: Draw) -> Deed:
    """One handoff by the function; a known key answers with the first one."""
    wish = draw_wish(draw)
    ledger, life = draw.ledger, None
    if draw.now_and_then(0.5):
        life = draw.life(wish.sender)
    refusal = ledger.refusal_of_life(wish.sender, life) if life is not None else None
    return _adding(
        draw.ledger,
        [wish],
        refusal or _refusal(ledger, wish),
        name="hand off",
        sql="select * from hand_off($1, $2, $3, $4, $5, now() + $6, now() + $7, $8, $9, $10, $11,"
        " null, $12)",
        values=(*_fields(wish), life),
    )


def hand_off_and_wait(draw: Draw) -> Deed | None:
    """An agent at work hands off and will wait; not for one whose work waits for its own."""
    ledger, sender = draw.ledger, draw.holder()
    if sender is None:
        return None
    line = [ledger.holder(one) for one in ledger.ancestors(ledger.model.holds[sender])]
    wish = draw_wish(draw, sender=sender, to=draw.one((*filter(None, line), draw.one(ADDRESSES))))
    refusal = "ZH010" if ledger.would_wait_for_ever(sender, wish.to) else _refusal(ledger, wish)
    return _adding(
        ledger,
        [wish],
        refusal,
        name="hand off and wait",
        sql="select * from hand_off($1, $2, $3, $4, $5, now() + $6, now() + $7, $8, $9, $10, $11,"
        " will_wait => true)",
        values=_fields(wish),
    )


def hand_off_many(draw: Draw) -> Deed:
    """Several in one transaction, in their order, all or none."""
    ledger, sender = draw.ledger, draw.one((*NAMES, *STRANGERS))
    wishes = [draw_wish(draw, sender=sender, plain=True) for _ in range(draw.chance.randint(2, 5))]
    refusals = [refusal for wish in wishes if (refusal := _refusal(ledger, wish))]
    return _adding(
        ledger,
        wishes,
        refusals[0] if refusals else None,
        name="hand off many",
        sql="select * from hand_off_many($1, $2)",
        values=(sender, [item(wish) for wish in wishes]),
    )


def insert(draw: Draw) -> Deed:
    """One handoff by a plain insert."""
    wish = draw_wish(draw, plain=True)
    ledger = draw.ledger
    return Deed(
        name="insert a handoff",
        by=By.PLAIN,
        sql="insert into handoffs (from_agent, to_agent, task_description, context, priority,"
        " max_attempts) values ($1, $2, $3, $4, $5, $6) returning id",
        values=(wish.sender, wish.to, wish.task, wish.context, wish.priority, wish.max_attempts),
        expected=_refusal(ledger, wish),
        follows=lambda rows: _taken_in(ledger, [wish], [(row[0], False) for row in rows]),
        writes=frozenset({Order.POSITIONS}),
        reads=_read(ledger, wish),
    )


_BAD: list[tuple[str, str, By, str]] = [
    ("a blank task", "select from hand_off('eve', 'ada', e' \\n')", By.AGENT, "23514"),
    ("an address of two lines", "select from hand_off('eve', e'a\\nb', 'x')", By.AGENT, "23514"),
    ("no address", "select from hand_off('eve', '', 'x')", By.AGENT, "23514"),
    ("no attempts", "select from hand_off('eve', 'a', 'x', max_attempts => 0)", By.AGENT, "23514"),
    (
        "a time limit of nothing",
        "select from hand_off('eve', 'a', 'x', timeout => '0')",
        By.AGENT,
        "23514",
    ),
    ("a list as context", "select from hand_off('eve', 'a', 'x', '[]')", By.AGENT, "23514"),
    ("too much", "select from hand_off('eve', 'a', repeat('x', 20001))", By.AGENT, "ZH006"),
    (
        "an unknown field",
        'select from hand_off_many(\'eve\', \'[{"to_agent": "a", "who": 1}]\')',
        By.AGENT,
        "ZH006",
    ),
    (
        "a handoff in mid-life",
        "insert into handoffs (from_agent, to_agent, task_description, status)"
        " values ('eve', 'a', 'x', 'in_progress')",
        By.PLAIN,
        "ZH005",
    ),
    (
        "a place of its own choice",
        "insert into handoffs (from_agent, to_agent, task_description, attempt)"
        " values ('eve', 'a', 'x', 0)",
        By.PLAIN,
        "42501",
    ),
]


def hand_off_badly(draw: Draw) -> Deed:
    """What no handoff may be is refused, and leaves nothing behind."""
    what, sql, by, refusal = draw.one(_BAD)
    return Deed(name=f"hand off {what}", by=by, sql=sql, expected=refusal)


def draw_wish(
    draw: Draw, *, sender: str | None = None, to: str | None = None, plain: bool = False
) -> Wish:
    """Draw what to hand off; a plain one has the seven given fields and little more."""
    sender = sender or draw.one((*NAMES, *STRANGERS, *STRANGERS))
    key = None if plain or draw.now_and_then(0.6) else draw.one(_KEYS)
    to, task, context = (
        to or draw.one((*ADDRESSES, _NOWHERE)),
        draw.text(),
        draw.one(draw.shapes.objects),
    )
    known = draw.ledger.keys.get((sender, key)) if key else None
    if known is not None and draw.now_and_then(0.7):
        first = draw.ledger.sent[known]
        to, task, context = first.to_agent, first.task, first.context
    return Wish(
        sender,
        to,
        task,
        context,
        priority=draw.chance.randint(-1, 2),
        max_attempts=draw.chance.randint(1, 4),
        delay=None if plain or draw.now_and_then(0.8) else LATER,
        deadline=None if plain or draw.now_and_then(0.8) else LATER,
        timeout=None if plain or draw.now_and_then(0.7) else LATER,
        key=key,
        parent=None if plain or draw.now_and_then(0.7) else _any_parent(draw),
    )


def _any_parent(draw: Draw) -> UUID:
    return draw.identity() if draw.now_and_then(0.15) else draw.handoff()


def item(wish: Wish) -> dict[str, Any]:
    """A plain wish as one element of `hand_off_many` or of follow-ups."""
    return {
        "to_agent": wish.to,
        "task_description": wish.task,
        "context": wish.context,
        "priority": wish.priority,
        "max_attempts": wish.max_attempts,
    }


def _fields(wish: Wish) -> tuple[object, ...]:
    return (
        *(wish.sender, wish.to, wish.task, wish.context, wish.priority),
        *(wish.delay, wish.deadline, wish.timeout, wish.max_attempts, wish.key, wish.parent),
    )


def _parent(ledger: Ledger, wish: Wish) -> UUID | None:
    return wish.parent or ledger.model.holds.get(wish.sender)


def _refusal(ledger: Ledger, wish: Wish) -> str | None:
    parent = _parent(ledger, wish)
    if parent is not None and parent not in ledger.sent:
        return "ZH008"
    if parent is not None and ledger.sent[parent].hop >= MAX_HOPS:
        return "ZH007"
    first = ledger.keys.get((wish.sender, wish.key)) if wish.key else None
    if first is not None:
        sent = ledger.sent[first]
        if (sent.to_agent, sent.task, sent.context) != wish.content:
            return "ZH009"
    return None


def _adding(
    ledger: Ledger,
    wishes: list[Wish],
    refusal: str | None,
    *,
    name: str,
    sql: str,
    values: tuple[object, ...],
) -> Deed:
    firsts = [ledger.keys.get((wish.sender, wish.key)) if wish.key else None for wish in wishes]
    unknown = [not ledger.answers_to(wish.to) for wish in wishes]

    def follow(rows: Rows) -> list[UUID]:
        for (handoff, repeated, warning), first, to_nobody in zip(
            rows, firsts, unknown, strict=True
        ):
            must(repeated is (first is not None), f"repeated: {repeated}, the first is {first}")
            must(first is None or first == handoff, f"{handoff} is not the first one, {first}")
            must((warning is not None) is to_nobody, f"warned: {warning}, unknown: {to_nobody}")
        return _taken_in(ledger, wishes, [(row[0], row[1]) for row in rows])

    keys = {(wish.sender, wish.key) for wish in wishes if wish.key}
    return Deed(
        name=name,
        by=By.AGENT,
        sql=sql,
        values=values,
        expected=refusal,
        follows=follow,
        writes=frozenset({Order.POSITIONS, *keys}),
        reads=frozenset({Order.ROLES, *filter(None, firsts)}).union(
            *(_read(ledger, wish) for wish in wishes)
        ),
    )


def _read(ledger: Ledger, wish: Wish) -> frozenset[Hashable]:
    """What an arriving handoff looks at: its sender, and its parent."""
    read = {wish.sender, *ledger.ancestors(_parent(ledger, wish))}
    return frozenset(read if wish.parent is None else {*read, wish.parent})


def _taken_in(ledger: Ledger, wishes: list[Wish], receipts: list[tuple[UUID, bool]]) -> list[UUID]:
    made = []
    for wish, (handoff, repeated) in zip(wishes, receipts, strict=True):
        if repeated:
            continue
        made.append(handoff)
        take_in(ledger, handoff, wish, _parent(ledger, wish))
    return made


def take_in(ledger: Ledger, handoff: UUID, wish: Wish, parent: UUID | None) -> None:
    """Take in a handoff that was just made."""
    above = ledger.sent[parent] if parent else None
    ledger.sent[handoff] = Sent(
        wish.sender,
        wish.to,
        wish.task,
        wish.context,
        root=above.root if above else handoff,
        hop=above.hop + 1 if above else 0,
        parent=parent,
        priority=wish.priority,
        key=wish.key,
    )
    ledger.model.handed_off(handoff, wish.max_attempts, due=wish.delay is None)
    if wish.key:
        ledger.keys[wish.sender, wish.key] = handoff
