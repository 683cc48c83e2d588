"""What an agent's process is told, as its only argument: a `Part` as JSON."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Who the process is, and how it is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: str
    dsn: str
    heartbeat_interval: timedelta
    pace: timedelta
    """The pause after each step, so that a person can follow."""
    stops_halfway: bool = False
    """Whether it stands still in the middle of its first work, until it is killed there."""
    as_json: bool = False
    color: bool = False
