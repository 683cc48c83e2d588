"""What operators see of handoffs: a table of them, one in full, and how one ends."""

import json
from collections.abc import Sequence
from datetime import timedelta

import anyio

from coordinator.operate.doorbell import Doorbell
from coordinator.operate.table import (
    Paint,
    columns,
    fields,
    printable,
    shortened,
    shown_span,
    shown_time,
    unpainted,
)
from coordinator.store.connection import Connection
from coordinator.store.operator_calls import HandedOff, HandoffRow, find_handoff

_TASK_WIDTH = 40
_POLL = timedelta(seconds=1)


def state_of(row: HandoffRow) -> str:
    """Say in one word where a handoff is in its life, or how it ended."""
    if row.outcome:
        return row.outcome
    if row.status == "pending":
        return "pending" if row.due else "delayed"
    if row.cancel_requested:
        return "cancelling"
    return "accepted" if row.accepted_at else "dispatched"


def render_handoffs(rows: Sequence[HandoffRow], *, paint: Paint = unpainted) -> str:
    """Lay handoffs out as a table, in the order given."""
    return columns(
        ("ID", "FROM", "TO", "STATE", "ATTEMPT", "AGENT", "AGE", "TASK"),
        [_cells(row) for row in rows],
        paint=paint,
    )


def render_handoff(row: HandoffRow, *, paint: Paint = unpainted) -> str:
    """Lay one handoff out in full, with what the agents wrote; absent facts are left out."""
    told: list[tuple[str, object]] = [
        ("id", row.id),
        ("from", printable(row.from_agent)),
        ("to", printable(row.to_agent)),
        ("state", paint(state_of(row), state_of(row))),
        ("reason", row.end_reason),
        ("error", row.last_error and printable(row.last_error)),
        ("task", printable(row.task_description)),
        ("context", _json(row.context) if row.context else None),
        ("result", _json(row.result) if row.result is not None else None),
        ("agent", row.assigned_agent and printable(row.assigned_agent)),
        ("attempt", _attempts(row)),
        ("priority", row.priority or None),
        ("created", f"{shown_time(row.created_at)} ({shown_span(row.age_s)} ago)"),
        ("not before", None if row.due else row.available_at),
        ("dispatched", row.dispatched_at),
        ("accepted", row.accepted_at),
        ("finished", row.finished_at),
        ("deadline", row.deadline_at),
        ("time limit", shown_span(row.timeout_s) if row.timeout_s else None),
        ("key", row.idempotency_key and printable(row.idempotency_key)),
        ("parent", row.parent_id),
        ("root", row.root_id if row.hop else None),
        ("traceparent", row.traceparent),
    ]
    return fields(told)


async def wait_for_end(
    connection: Connection, handed: HandedOff, *, within: timedelta
) -> HandoffRow | None:
    """Wait until a handoff is completed; return its row as it is then, or at the end of the time.

    None if the row was deleted meanwhile.
    """
    bell = Doorbell()
    await connection.listen(handed.channel, bell.ring)
    end = anyio.current_time() + within.total_seconds()
    while True:
        row = await find_handoff(connection, handed.handoff_id)
        left = timedelta(seconds=end - anyio.current_time())
        if row is None or row.outcome or left <= timedelta(0):
            return row
        await bell.wait(min(left, _POLL))


def _cells(row: HandoffRow) -> tuple[str, ...]:
    return (
        str(row.id),
        shortened(row.from_agent, 24),
        shortened(row.to_agent, 24),
        state_of(row),
        f"{row.attempt}/{row.max_attempts}",
        shortened(row.assigned_agent or "-", 24),
        shown_span(row.age_s),
        shortened(row.task_description, _TASK_WIDTH),
    )


def _attempts(row: HandoffRow) -> str:
    reopened = f", reopened {row.retries} times" if row.retries else ""
    return f"{row.attempt} of {row.max_attempts}{reopened}"


def _json(value: object) -> str:
    # In ASCII, so that nothing in it can steer a terminal.
    return json.dumps(value)
