"""What operators see of agents: a table of them, one in full, and their logins."""

import json
from collections.abc import Sequence

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
from coordinator.store.agent_logins import BoundLogin
from coordinator.store.operator_calls import AgentRow


def render_agents(rows: Sequence[AgentRow], *, paint: Paint = unpainted) -> str:
    """Lay agents out as a table, in the order given."""
    return columns(
        ("AGENT", "STATUS", "SINCE", "HEARD", "ROLES", "HOLDS", "TASK"),
        [
            (
                shortened(row.agent_name, 32),
                shortened(_status(row), 32),
                shown_span(row.status_for_s),
                f"{shown_span(row.seen_ago_s)} ago",
                shortened(",".join(row.roles) or "-", 24),
                str(row.current_handoff or "-"),
                shortened(row.current_task or "-", 32),
            )
            for row in rows
        ],
        paint=paint,
    )


def render_agent(row: AgentRow, *, paint: Paint = unpainted) -> str:
    """Lay one agent out in full; absent facts are left out."""
    told: list[tuple[str, object]] = [
        ("agent", printable(row.agent_name)),
        ("status", paint(printable(_status(row)), row.status)),
        ("since", f"{shown_time(row.status_since)} ({shown_span(row.status_for_s)})"),
        ("heard", f"{shown_time(row.last_seen)} ({shown_span(row.seen_ago_s)} ago)"),
        ("roles", printable(", ".join(row.roles))),
        ("holds", row.current_handoff),
        ("task", row.current_task and printable(row.current_task)),
        ("speaks", f"SDK, incarnation {row.incarnation}" if row.incarnation else "plain SQL"),
        ("registered", row.registered_at),
        ("metadata", json.dumps(row.metadata) if row.metadata else None),
    ]
    return fields(told)


def render_logins(rows: Sequence[BoundLogin]) -> str:
    """Lay logins out as a table, in the order given."""
    return columns(
        ("AGENT", "LOGIN", "ROLES", "SPEAKS", "CONNECTIONS", "CREATED"),
        [
            (
                shortened(row.agent_name, 32),
                printable(row.login),
                shortened(",".join(row.roles) or "-", 24),
                row.speaks or "nothing",
                str(row.connections),
                shown_time(row.created_at),
            )
            for row in rows
        ],
    )


def _status(row: AgentRow) -> str:
    return f"{row.status} ({row.blocked_reason})" if row.blocked_reason else row.status
