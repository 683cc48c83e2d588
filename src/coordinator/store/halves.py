"""The two halves of the schema: coordination stands alone, business needs it and Supabase.

A migration's half is told by its file's name, and each half has a private schema. What is skipped
is noted (see `migrations`), so that the half can be installed later.
"""

from enum import StrEnum


class Half(StrEnum):
    """One of the two halves, in the order in which they are applied."""

    COORDINATION = "coordination"
    """Agents, handoffs, events: on any PostgreSQL."""
    BUSINESS = "business"
    """Users, workspaces, clients, tasks: where Supabase's `auth` schema is."""

    @property
    def private_schema(self) -> str:
        """Where it keeps what is not for clients; all in it is ours."""
        return "agency" if self is Half.BUSINESS else "coordination"


def half_of(name: str) -> Half:
    """Tell the half of a migration by its name, which is that of its file without the version."""
    return Half.BUSINESS if name.startswith("business_") else Half.COORDINATION
