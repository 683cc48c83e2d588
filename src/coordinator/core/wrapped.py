"""What a wrapped command finds in its environment: the names that the runner sets.

They look like settings and are none, so a `coordinator` inside the command passes them over.
"""

from enum import StrEnum


class WrappedVariable(StrEnum):
    """The variables of `coordinator agent run` that carry our prefix."""

    AGENT = "COORDINATOR_AGENT"
    HANDOFF_ID = "COORDINATOR_HANDOFF_ID"
    ATTEMPT = "COORDINATOR_ATTEMPT"
    CONTEXT_FILE = "COORDINATOR_CONTEXT_FILE"
    SOCKET = "COORDINATOR_SOCKET"
    """Where an MCP server inside the command finds the runner; not for plain commands."""
