"""What a program of the load is told when it is started: one JSON document, its only argument."""

import sys
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class _Orders(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dsn: str
    notes: Path
    seed: str

    @classmethod
    def given(cls) -> Self:
        """Read what this process was told."""
        return cls.model_validate_json(sys.argv[1])


class AgentOrders(_Orders):
    """For a process of agents."""

    names: tuple[str, ...]
    heartbeat_s: float


class SenderOrders(_Orders):
    """For a process of senders."""

    name: str
    to: tuple[str, ...]
    """The agents that are addressed by name."""
    rate: float
    """Handoffs a second, all ways together."""
    heartbeat_s: float
