"""The daemon's statements, one typed function each, on any connection or transaction."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from coordinator.core.transitions import Transition
from coordinator.store.connection import Record, Statements


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What a dispatch pass did."""

    count: int
    left_over: bool
    """An idle agent stands beside due work still: look again soon."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Where due work lies, and when the next delayed handoff becomes due (None: none waits)."""

    addresses: list[str]
    due_in: timedelta | None


@dataclass(frozen=True, slots=True)
class Debt:
    """Who may still keep silent: whoever has a transaction id below `below`."""

    below: str
    seen: str
    """A snapshot to read changes from, where there is none yet."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What could have become dispatchable between two snapshots; `seen` is the later one."""

    addresses: list[str]
    agents: list[str]
    due_in: timedelta | None
    """The time to the first of the delayed handoffs among it."""
    seen: str
    paid: bool
    """Whether everybody who could keep silent had ended by then."""


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to sweep. Counts are of agents; times are the database's."""

    now: datetime
    agents: int
    stale: int
    lapsed: int
    ahead: int
    """Heard in the future: the clock was set back."""
    overdue: bool
    timed_out: bool
    to_cancel: bool
    unaccepted: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How long agents may be silent, and how many rows one statement touches."""

    stale_after: timedelta
    take_back_after: timedelta
    accept_timeout: timedelta
    cancel_grace: timedelta
    batch: int


@dataclass(frozen=True, slots=True)
class Reign:
    """One daemon's leadership: its number, and who it is."""

    term: int
    leader: UUID


async def dispatch(
    on: Statements, *, addresses: list[str], agents: list[str], term: int, limits: Limits
) -> Dispatched:
    """Give due handoffs at these addresses, and at those of these agents, to idle agents.

    Nothing is given once the term is over.
    """
    row = _only(
        await on.run(
            "dispatch",
            addresses=addresses,
            agents=agents,
            term=term,
            batch=limits.batch,
            stale_after=limits.stale_after,
        )
    )
    return Dispatched(row["dispatched"], row["left_over"])


async def scan(on: Statements) -> Scan:
    """Find the addresses with due work."""
    row = _only(await on.run("scan"))
    return Scan(row["addresses"], _span(row["due_in_s"]))


async def make_due(on: Statements, *, batch: int) -> int:
    """Put delayed handoffs whose time has come up for dispatch; return how many."""
    return _count(await on.run("make_due", batch=batch))


async def hush(on: Statements, *, term: int) -> str | None:
    """Let nobody ring; return a snapshot from before. None, and nothing done, after the term."""
    rows = await on.run("hush", term=term)
    return str(rows[0]["seen"]) if rows else None


async def unhush(on: Statements) -> None:
    """Let everybody ring again; `owe` comes next."""
    await on.run("unhush")


async def owe(on: Statements) -> Debt:
    """Ask who may still keep silent, once everybody was told to ring."""
    row = _only(await on.run("owe"))
    return Debt(row["debt"], row["seen"])


async def read_changes(on: Statements, *, seen: str, debt: Debt | None) -> Changes:
    """Read what could have become dispatchable since a snapshot, and whether a debt is paid."""
    row = _only(await on.run("read_changes", seen=seen, debt=debt.below if debt else None))
    return Changes(
        addresses=row["addresses"],
        agents=row["agents"],
        due_in=_span(row["due_in_s"]),
        seen=row["seen"],
        paid=bool(row["paid"]),
    )


async def look(on: Statements, *, reign: Reign, limits: Limits) -> Look | None:
    """Renew the reign and see what there is to sweep; None once another daemon leads."""
    rows = await on.run(
        "look",
        term=reign.term,
        leader=reign.leader,
        stale_after=limits.stale_after,
        take_back_after=limits.take_back_after,
        accept_timeout=limits.accept_timeout,
        cancel_grace=limits.cancel_grace,
    )
    return Look(**dict(rows[0])) if rows else None


async def correct_heartbeats(on: Statements, limits: Limits) -> int:
    """Take heartbeats that lie in the future for heard now; return how many."""
    return _count(await on.run("correct_heartbeats", batch=limits.batch))


async def block_stale_agents(on: Statements, limits: Limits) -> int:
    """Block agents without a heartbeat; return how many."""
    return _count(
        await on.run("block_stale_agents", stale_after=limits.stale_after, batch=limits.batch)
    )


async def take_back_lapsed(on: Statements, limits: Limits) -> int:
    """Take back what silent agents hold; return how many."""
    return _count(
        await on.run("take_back_lapsed", take_back_after=limits.take_back_after, batch=limits.batch)
    )


@dataclass(frozen=True, slots=True)
class Tether:
    """A process of agents, by its number: is its session there, and does it hold work?"""

    id: int
    tethered: bool
    holds: UUID | None
    """Its incarnation, where it holds work."""


async def tethers(on: Statements) -> list[Tether]:
    """List the processes that are there, and those that hold work."""
    return [Tether(**dict(row)) for row in await on.run("tethers")]


async def block_disconnected(on: Statements, incarnations: list[UUID], limits: Limits) -> int:
    """Block the agents of processes that have gone; return how many."""
    return _count(await on.run("block_disconnected", incarnations=incarnations, batch=limits.batch))


async def take_back_disconnected(on: Statements, incarnations: list[UUID], limits: Limits) -> int:
    """Take back what the blocked agents of those processes hold; return how many."""
    return _count(
        await on.run("take_back_disconnected", incarnations=incarnations, batch=limits.batch)
    )


async def take_back_unaccepted(on: Statements, limits: Limits) -> int:
    """Take back what registered agents did not accept in time; return how many."""
    return _count(
        await on.run(
            "take_back_unaccepted", accept_timeout=limits.accept_timeout, batch=limits.batch
        )
    )


async def push_again(on: Statements, limits: Limits, *, since: datetime) -> int:
    """Push what has waited half its time for its accept since the last look; return how many."""
    return _count(await on.run("push_again", accept_timeout=limits.accept_timeout, since=since))


async def take_back_timed_out(on: Statements, limits: Limits) -> int:
    """Take back attempts past their own limit; return how many."""
    return _count(await on.run("take_back_timed_out", batch=limits.batch))


async def end_overdue(on: Statements, limits: Limits) -> int:
    """Fail what is past its deadline; return how many."""
    return _count(await on.run("end_overdue", batch=limits.batch))


async def end_cancelled(on: Statements, limits: Limits) -> int:
    """End what was to be cancelled and did not answer; return how many."""
    return _count(
        await on.run("end_cancelled", cancel_grace=limits.cancel_grace, batch=limits.batch)
    )


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the log got: all that `seen` could see, and of what `target` adds, up to `logged`."""

    seen: str | None
    target: str | None
    logged: int
    floor: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some transitions, in order, and the cursor once they are logged."""

    transitions: list[Transition]
    cursor: Cursor
    full: bool
    """Whether there may be more at once."""


async def load_cursor(on: Statements) -> tuple[Cursor, bool, int]:
    """Read the cursor, whether it was restored from another cluster, and the highest number."""
    row = _only(await on.run("load_cursor"))
    cursor = Cursor(row["seen"], row["target"], row["logged"], row["floor"])
    return cursor, row["restored"], row["highest"]


async def read_events(on: Statements, cursor: Cursor, *, page: int) -> Page | None:
    """Read the next page of transitions after the cursor; None where there are none."""
    if cursor.target is None:
        rows = await on.run("read_events", seen=cursor.seen, floor=cursor.floor, page=page)
    else:
        rows = await on.run(
            "read_more_events",
            seen=cursor.seen,
            target=cursor.target,
            logged=cursor.logged,
            floor=cursor.floor,
            page=page,
        )
    if not rows and cursor.target is not None:
        return Page([], Cursor(cursor.target, None, 0, cursor.floor), full=True)
    if not rows:
        return None
    target = rows[0]["target"]
    full = len(rows) == page
    after = (
        Cursor(cursor.seen, target, rows[-1]["sequence"], cursor.floor)
        if full
        else Cursor(target, None, 0, cursor.floor)
    )
    return Page([transition(row) for row in rows], after, full)


async def store_cursor(on: Statements, cursor: Cursor, *, highest: int, reign: Reign) -> bool:
    """Keep the cursor; False once another daemon leads."""
    rows = await on.run(
        "store_cursor",
        seen=cursor.seen,
        target=cursor.target,
        logged=cursor.logged,
        highest=highest,
        term=reign.term,
        leader=reign.leader,
    )
    return bool(rows)


async def read_restored_events(
    on: Statements, cursor: Cursor, *, highest: int
) -> tuple[list[Transition], Cursor]:
    """Read what a restored database holds beyond the log, and where the cursor begins anew."""
    rows = await on.run(
        "read_restored_events", seen=cursor.seen, highest=highest, floor=cursor.floor
    )
    transitions = [transition(row) for row in rows if row["sequence"] is not None]
    return transitions, Cursor(rows[0]["target"], None, 0, rows[0]["next_floor"])


async def restart_cursor(on: Statements, cursor: Cursor, *, highest: int, reign: Reign) -> bool:
    """Begin the cursor anew; False once another daemon leads."""
    rows = await on.run(
        "restart_cursor",
        seen=cursor.seen,
        floor=cursor.floor,
        highest=highest,
        term=reign.term,
        leader=reign.leader,
    )
    return bool(rows)


@dataclass(frozen=True, slots=True)
class Candidacy:
    """The answer to a try at leading: a term of our own, or who leads and its last progress.

    `leader` and `backend_pid` are the last leader's, as it noted them; `holder_pid` has the lock.
    """

    got: bool
    term: int
    leader: UUID | None
    backend_pid: int | None
    renewed_at: datetime | None
    holder_pid: int | None


async def lead(on: Statements, *, key: int, leader: UUID) -> Candidacy:
    """Try to become the leader, without waiting."""
    return Candidacy(**dict(_only(await on.run("lead", key=key, leader=leader))))


async def end_stalled_leader(on: Statements, pid: int) -> bool:
    """End the backend of a leader without progress; False when it had gone already."""
    return bool(_only(await on.run("end_stalled_leader", pid=pid))["ended"])


@dataclass(frozen=True, slots=True)
class Server:
    """What kind of server answers; `version` is like 150018."""

    standby: bool
    version: int
    version_text: str


async def check_server(on: Statements) -> Server:
    """Ask what kind of server this is."""
    return Server(**dict(_only(await on.run("check_server"))))


async def ring_self(on: Statements, payload: str) -> None:
    """Notify the daemon's own channel."""
    await on.run("ring_self", payload=payload)


def transition(row: Record) -> Transition:
    """Make an event of a row of `coordination_events`."""
    return Transition(
        sequence=row["sequence"],
        occurred_at=row["occurred_at"],
        event=row["event"],
        handoff_id=row["handoff_id"],
        attempt=row["attempt"],
        agent=row["agent"],
        by_user=row["by_user"],
        by_application=row["by_application"],
        detail=row["detail"],
    )


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _only(rows: list[Record]) -> Record:
    return rows[0]


def _count(rows: list[Record]) -> int:
    count: int = rows[0][0]
    return count
