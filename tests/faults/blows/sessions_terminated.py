"""All sessions of the database are ended at once by `pg_terminate_backend`."""

from dataclasses import dataclass

from tests.faults.blows.sessions import end_all
from tests.faults.fault import NotStruck
from tests.faults.field import Field


@dataclass(frozen=True, slots=True)
class SessionsTerminated:
    """It mends itself: whoever lost a session opens another."""

    holds_locks: bool = False
    name: str = "all sessions terminated"

    async def strike(self, field: Field) -> str:
        """End them; the proof is how many there were."""
        ended = await field.ask(end_all)
        if not ended:
            raise NotStruck("nobody was connected")
        return f"ended {ended} sessions at once"
