"""One session is ended by `pg_terminate_backend`, whoever it serves."""

from dataclasses import dataclass

from tests.faults.blows.sessions import sessions_of
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.schema.world import World
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class SessionTerminated:
    """It mends itself: whoever lost the session opens another."""

    of: str = ""
    """How the victim's application name begins; by default, anybody's."""
    holds_locks: bool = False
    name: str = "session terminated"

    async def strike(self, field: Field) -> str:
        """End it; the proof is its pid, which PostgreSQL has no more."""

        async def end_one(world: World) -> str:
            everybody = await sessions_of(world)
            sessions = [one for one in everybody if one.application.startswith(self.of)]
            if not sessions:
                raise NotStruck(f"nobody was connected: {self.of}")
            victim = field.chance.choice(sessions)
            if not await world.value("select pg_terminate_backend($1)", victim.pid):
                raise NotStruck(f"{victim} had gone already")

            async def has_gone() -> bool:
                return victim not in await sessions_of(world)

            await eventually(has_gone)
            return f"ended {victim}"

        return await field.ask(end_one)
