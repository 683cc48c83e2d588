"""The present, told again by the events alone: every handoff, and every agent.

An agent's own events say what it shows from then on; that a dispatch makes it `working` and the end
of an attempt `idle` is said by the handoff's event.
"""

from collections.abc import Iterable
from typing import Any

from coordinator.core.lifecycle import STATUS_AFTER

Shown = tuple[Any, ...]

HANDOFFS = (
    "select id, status, outcome, attempt,"
    " case when status = 'in_progress' then assigned_agent end from handoffs"
)
"""What `Replay.handoffs` must be, by key: the present rows."""
AGENTS = "select agent_name, status, blocked_reason, current_handoff from agent_status"
"""What `Replay.agents` must be, by key: the present rows."""


class Replay:
    """What the events so far amount to."""

    def __init__(self) -> None:
        self.handoffs: dict[Any, Shown] = {}
        """Status, outcome, attempt and holder of every handoff."""
        self.agents: dict[str, Shown] = {}
        """Status, reason and handoff of every agent."""

    def read(self, rows: Iterable[Any]) -> None:
        """Take in further events, in the order of their numbers."""
        for row in rows:
            if row["event"].startswith("agent."):
                self._agent(row)
            elif row["event"] == "handoff.deleted":
                self._leave(self.handoffs.pop(row["handoff_id"], None))
            elif row["event"] in STATUS_AFTER:
                self._handoff(row)

    def _agent(self, row: Any) -> None:
        name = row["agent"]
        if row["event"] == "agent.deleted":
            self.agents.pop(name, None)
            return
        holds = self.agents[name][2] if name in self.agents else None
        self.agents[name] = (row["detail"]["status"], row["detail"].get("reason"), holds)

    def _handoff(self, row: Any) -> None:
        handoff, (status, outcome) = row["handoff_id"], STATUS_AFTER[row["event"]]
        before = self.handoffs.get(handoff)
        held = status == "in_progress"
        self.handoffs[handoff] = (status, outcome, row["attempt"], row["agent"] if held else None)
        if row["event"] == "handoff.dispatched":
            self.agents[row["agent"]] = ("working", None, handoff)
        elif not held:
            self._leave(before)

    def _leave(self, before: Shown | None) -> None:
        """Free whoever held it before."""
        if before is None or before[3] is None:
            return
        status, reason, _ = self.agents[before[3]]
        self.agents[before[3]] = ("idle" if status == "working" else status, reason, None)


def by_key(rows: Iterable[Any]) -> dict[Any, Shown]:
    """Rows by their first column."""
    return {row[0]: tuple(row)[1:] for row in rows}
