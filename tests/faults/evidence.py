"""Reads what a run has left in the database, as it was at one moment."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.faults.checker import Event, History, Row
from tests.faults.field import LoggedReign
from tests.faults.history import Note
from tests.integration.schema.world import World
from tests.support.postgres import Connection

# Times are whole microseconds, which is as fine as the server has them.
_EVENTS = """
    select
      e.sequence,
      e.xid::text::bigint as xid,
      (extract(epoch from e.occurred_at) * 1000000)::bigint as at,
      e.event as name,
      e.handoff_id,
      e.attempt,
      e.agent,
      e.detail ->> 'reason' as reason,
      (e.detail ->> 'incarnation')::uuid as incarnation,
      (e.detail ->> 'priority')::integer as priority,
      e.detail ? 'available_at' as delayed
    from coordination_events e
    order by e.sequence
"""
_ROWS = """
    select
      h.id,
      h.from_agent,
      h.to_agent,
      h.position,
      h.priority,
      h.status,
      h.outcome,
      h.attempt,
      h.retries,
      h.assigned_agent,
      (extract(epoch from h.dispatched_at) * 1000000)::bigint as dispatched_at,
      (extract(epoch from h.finished_at) * 1000000)::bigint as finished_at,
      (extract(epoch from h.deadline_at) * 1000000)::bigint as deadline_at,
      h.idempotency_key,
      h.parent_id,
      h.root_id,
      h.hop,
      case jsonb_typeof(h.context -> 'steps')
        when 'number' then (h.context ->> 'steps')::integer
      end as steps
    from handoffs h
"""
_NOW = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
_AT_ONCE = 5000
_US = 1000


async def history_of(
    world: World,
    notes: Sequence[Note],
    reigns: Sequence[LoggedReign],
    *,
    locked: Sequence[tuple[int, int]] = (),
) -> History:
    """Put together what the clients noted, what the daemons logged and what the database has.

    `reigns` come in their order. `locked` says when strangers held locks, or a sick server kept
    those of the dead; see `History`.
    """
    ids: dict[UUID, UUID] = {}  # one object for each handoff, however many events it has
    connection = world.connection
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        events = [
            _event(record, ids) async for record in connection.cursor(_EVENTS, prefetch=_AT_ONCE)
        ]
        rows = [_row(record, ids) async for record in connection.cursor(_ROWS, prefetch=_AT_ONCE)]
    return History(
        notes=notes,
        events=events,
        rows=rows,
        log=[reign.numbers for reign in reigns],
        server_ahead=await _server_ahead(connection),
        locked=locked,
    )


def _event(record: Any, ids: dict[UUID, UUID]) -> Event:
    columns = dict(record)
    columns["at"] *= _US
    columns["handoff_id"] = ids.setdefault(columns["handoff_id"], columns["handoff_id"])
    return Event(**columns)


def _row(record: Any, ids: dict[UUID, UUID]) -> Row:
    columns = dict(record)
    for name in ("dispatched_at", "finished_at", "deadline_at"):
        columns[name] = None if columns[name] is None else columns[name] * _US
    columns["id"] = ids.setdefault(columns["id"], columns["id"])
    return Row(**columns)


async def _server_ahead(connection: Connection) -> int:
    """How far the server's clock is ahead of CLOCK_MONOTONIC; too far by the question's way."""
    asked = time.monotonic_ns()
    return int(await connection.fetchval(_NOW)) * _US - asked
