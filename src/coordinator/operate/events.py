"""Reading `coordination_events`: what has been, and what comes, each transition once and in order.

What has been is what one moment could see. What comes is what that moment could not see, told by
the transaction snapshots of PostgreSQL and not by the numbers: a transaction that commits late
brings low numbers, and a reader that only looks ahead would miss them.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import anyio

from coordinator.core.errors import StoreUnavailable
from coordinator.core.events import known
from coordinator.core.transitions import Transition
from coordinator.operate.doorbell import Doorbell
from coordinator.operate.table import Paint, printable, shown_time, unpainted
from coordinator.store.connection import Connection, Statements
from coordinator.store.operator_calls import (
    EventFilter,
    last_shared,
    list_events,
    start_of_events,
    which_history,
)
from coordinator.store.passes import Cursor, read_events

_PAGE = 1000
_REMEMBERED = 1000
"""How many transitions that were told are looked for in another history."""
_POLL = timedelta(seconds=1)
_RECONNECT_AFTER_S = 1.0
_DOORBELLS = ("handoffs", "agent_status")


class EventReader:
    """Reads the transitions that pass a filter; it knows how far it got, across connections."""

    def __init__(self, wanted: EventFilter) -> None:
        self._wanted = wanted
        self._cursor: Cursor | None = None
        self._history = ""
        self._told: deque[Transition] = deque(maxlen=_REMEMBERED)
        self._after = 0

    async def past(
        self, on: Statements, *, since: int | None, newest: int
    ) -> AsyncIterator[Transition]:
        """Yield what has been: all behind the number `since`, else the `newest` ones."""
        self._history = await which_history(on)
        self._cursor, after = await start_of_events(
            on, self._wanted, newest=0 if since is not None else newest
        )
        self._after = after if since is None else since
        if since is None and newest == 0:
            return
        async for event in self._listed(on, self._cursor, self._after):
            yield event

    async def is_cut(self, on: Statements) -> bool:
        """Whether the history that was read does not go on here: after a failover, or a restore.

        Transactions that the new one never had may have been seen, and their ids are given again.
        """
        return await which_history(on) != self._history

    async def begin_anew(self, on: Statements) -> AsyncIterator[Transition]:
        """Yield what this history has behind the last that was told and that it has as well.

        Numbers that were lost with their transitions are given again.
        """
        self._history = await which_history(on)
        self._cursor, _ = await start_of_events(on, self._wanted, newest=0)
        after = await last_shared(on, self._told)
        if after is None:
            after = min((event.sequence - 1 for event in self._told), default=self._after)
        async for event in self._listed(on, self._cursor, after):
            yield event

    async def news(self, on: Statements) -> AsyncIterator[Transition]:
        """Yield what has come since the last call, or since `past` began; RuntimeError before."""
        if self._cursor is None:
            raise RuntimeError("read the past first: it sets the cursor")
        while page := await read_events(on, self._cursor, page=_PAGE):
            # Before they are told: a listener that fails here does not get them twice.
            self._cursor = page.cursor
            for event in filter(self._wanted.lets_pass, page.transitions):
                self._told.append(event)
                yield event
            if not page.full:
                return

    async def _listed(
        self, on: Statements, cursor: Cursor, after: int
    ) -> AsyncIterator[Transition]:
        full = True
        while full:
            page = await list_events(on, self._wanted, cursor, after=after, page=_PAGE)
            for event in page:
                self._told.append(event)
                yield event
            full = len(page) == _PAGE
            after = page[-1].sequence if page else after


async def follow(
    reader: EventReader,
    connection: Connection,
    reconnect: Callable[[], AbstractAsyncContextManager[Connection]],
    on_trouble: Callable[[StoreUnavailable], None],
) -> AsyncIterator[Transition]:
    """Yield transitions as they come, without end, on this connection and on later ones.

    A lost database is waited out; `on_trouble` hears of it, once an attempt.
    """
    try:
        async for event in _follow_on(reader, connection):
            yield event
    except StoreUnavailable as error:
        on_trouble(error)
    while True:
        await anyio.sleep(_RECONNECT_AFTER_S)
        try:
            async with reconnect() as another:
                if await reader.is_cut(another):
                    on_trouble(_cut())
                    async for event in reader.begin_anew(another):
                        yield event
                async for event in _follow_on(reader, another):
                    yield event
        except StoreUnavailable as error:
            on_trouble(error)


def render_event(event: Transition, *, paint: Paint = unpainted) -> str:
    """Write a transition as one line: when, its number, what, and what is known of it."""
    told = [f"{name}={_shown(value)}" for name, value in _known(event)]
    name = paint(f"{event.event:<24}", event.event.rpartition(".")[2])
    return f"{shown_time(event.occurred_at)}  {event.sequence:>6}  {name}  {' '.join(told)}"


def event_document(event: Transition) -> dict[str, object]:
    """Return a transition in the shape of `events --json`; all keys are always there."""
    return {
        "event_number": event.sequence,
        "occurred_at": event.occurred_at,
        "event": event.event,
        "handoff_id": event.handoff_id,
        "attempt": event.attempt,
        "agent": event.agent,
        "by_user": event.by_user,
        "by_application": event.by_application,
        "detail": dict(event.detail),
    }


def _cut() -> StoreUnavailable:
    return StoreUnavailable(
        "another server goes on with the history",
        "after a failover or a restore, the last transitions shown may be missing there",
    )


async def _follow_on(reader: EventReader, connection: Connection) -> AsyncIterator[Transition]:
    bell = Doorbell()
    for channel in _DOORBELLS:
        await connection.listen(channel, bell.ring)
    while True:
        async for event in reader.news(connection):
            yield event
        await bell.wait(_POLL)


def _known(event: Transition) -> Iterator[tuple[str, object]]:
    detail = event.detail
    way = {"from": detail.get("from_agent"), "to": detail.get("to_agent")}
    yield from known(
        {"handoff": event.handoff_id, "attempt": event.attempt or None, "agent": event.agent, **way}
    ).items()
    # A root's own id, and the zeros of a plain handoff, tell nothing.
    plain = {"root_id": str(event.handoff_id), "hop": 0, "priority": 0}
    for name, value in detail.items():
        if name not in ("from_agent", "to_agent") and plain.get(name) != value:
            yield name, value
    yield "by", "/".join(filter(None, (event.by_user, event.by_application)))


def _shown(value: object) -> str:
    text = printable(str(value))
    return repr(text) if " " in text else text
