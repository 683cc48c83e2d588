"""What operators see first: how much work there is, who does it, and who leads."""

from datetime import timedelta

from coordinator.operate.table import Paint, fields, printable, shown_span, unpainted
from coordinator.store.operator_calls import StatusRow


def is_led(row: StatusRow, *, leader_stale_after: timedelta) -> bool:
    """Whether a daemon leads and its passes succeed."""
    return (
        row.leader_connected
        and row.last_pass_ago_s is not None
        and row.last_pass_ago_s < leader_stale_after.total_seconds()
    )


def status_document(row: StatusRow, *, leader_stale_after: timedelta) -> dict[str, object]:
    """Return the status in the shape of `coordinator status --json`."""
    return {
        "handoffs": {
            "due": row.due,
            "delayed": row.delayed,
            "dispatched": row.dispatched,
            "accepted": row.accepted,
            "succeeded": row.succeeded,
            "failed": row.failed,
            "cancelled": row.cancelled,
        },
        "oldest_due_s": row.oldest_due_s,
        "unanswered_addresses": list(row.unanswered),
        "agents": {"idle": row.idle, "working": row.working, "blocked": row.blocked},
        "blocked": {
            "stale": row.stale,
            "unresponsive": row.unresponsive,
            "left": row.left_agents,
            "said": row.blocked - row.stale - row.unresponsive - row.left_agents,
        },
        "leader": {
            "led": is_led(row, leader_stale_after=leader_stale_after),
            "term": row.term,
            "id": row.leader,
            "connected": row.leader_connected,
            "last_pass_ago_s": row.last_pass_ago_s,
        },
        "notification_queue_usage": row.notification_queue_usage,
        "server_version": row.server_version,
        "schema_version": row.schema_version,
    }


def render_status(
    row: StatusRow, *, leader_stale_after: timedelta, paint: Paint = unpainted
) -> str:
    """Lay the status out in five lines."""
    oldest = f" (oldest {shown_span(row.oldest_due_s)})" if row.oldest_due_s is not None else ""
    waiting = f"{row.due} due{oldest}, {row.delayed} delayed"
    ended = (("succeeded", row.succeeded), ("failed", row.failed), ("cancelled", row.cancelled))
    return fields(
        [
            ("handoffs", f"{waiting}; {row.dispatched} dispatched, {row.accepted} accepted"),
            ("ended", ", ".join(_count(count, word, paint) for word, count in ended)),
            ("agents", _agents(row, paint)),
            ("leader", _leader(row, led=is_led(row, leader_stale_after=leader_stale_after))),
            ("server", _server(row)),
        ]
    )


def _agents(row: StatusRow, paint: Paint) -> str:
    said = row.blocked - row.stale - row.unresponsive - row.left_agents
    reasons = {
        "stale": row.stale,
        "unresponsive": row.unresponsive,
        "left": row.left_agents,
        "by its own word": said,
    }
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    blocked = _count(row.blocked, "blocked", paint) + (f" ({why})" if why else "")
    return f"{row.idle} idle, {row.working} working, {blocked}"


def _leader(row: StatusRow, *, led: bool) -> str:
    if row.last_pass_ago_s is None:
        return "none yet"
    word = "" if led else ", gone" if not row.leader_connected else ", stalled"
    return f"term {row.term}, last pass {shown_span(row.last_pass_ago_s)} ago{word}"


def _server(row: StatusRow) -> str:
    schema = row.schema_version or "not recorded"
    usage = f"notification queue {row.notification_queue_usage:.1%} full"
    return f"PostgreSQL {printable(row.server_version.partition(' ')[0])}, schema {schema}, {usage}"


def _count(count: int, word: str, paint: Paint) -> str:
    text = f"{count} {word}"
    return paint(text, word) if count else text
