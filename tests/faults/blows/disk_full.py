"""The disk that holds the data is full: at first no row can be written, then PostgreSQL falls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import anyio
import asyncpg

from coordinator.embedded import PrivateServer
from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.disk import Disk
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.daemon.beating import LOST

NO_SPACE = "No space left on device"
_A_TABLE = (
    "create temporary table too_much as select repeat('x', 1000) from generate_series(1, 10000)"
)
_A_MEGABYTE_AHEAD = "select pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))"
_MOST_TRIES = 200
_PAUSE_S = 0.05


async def no_row_fits(field: Field) -> bool:
    """Whether rows are refused with 53100; what needs no more room goes on."""
    for _ in range(_MOST_TRIES):
        try:
            async with field.database.connect() as connection:
                await connection.execute(_A_TABLE)
        except asyncpg.DiskFullError:
            return True
        except LOST:
            await anyio.sleep(_PAUSE_S)  # somebody else's write has made it fall
        if field.server.pid is None:
            return True
    return False


async def the_server_falls(field: Field) -> bool:
    """Whether PostgreSQL ended because it could not write ahead, and stays away."""
    for _ in range(_MOST_TRIES):
        try:
            async with field.database.connect() as connection:
                await connection.execute(_A_MEGABYTE_AHEAD)
        except LOST:
            await anyio.sleep(_PAUSE_S)  # it falls, and tries to recover
        if field.server.pid is None:
            return True
    return False


Effect = Callable[[Field], Awaitable[bool]]
EFFECTS: tuple[Effect, ...] = (no_row_fits, the_server_falls)


@dataclass(frozen=True, slots=True)
class DiskFull:
    """The field's server must have this disk to itself; see `server_on_a_small_disk`."""

    disk: Disk
    longest: timedelta = timedelta(seconds=2)
    shortest: timedelta = SHORTEST
    effects: tuple[Effect, ...] = EFFECTS
    """What it leads to; one of them is drawn."""
    holds_locks: bool = True
    name: str = "disk full"

    async def strike(self, field: Field) -> str:
        """Fill it, free it, start what has fallen; the proof is what the server's log says."""
        effect = field.chance.choice(self.effects)
        try:
            filled = self.disk.fill()
            struck = await effect(field)
            told = _complaint(field.server)
            await anyio.sleep(drawn(field, self.longest, self.shortest))  # the lack of space itself
        finally:
            self.disk.free()
            with anyio.CancelScope(shield=True):
                if field.server.pid is None:
                    await field.server.stop()
                    await field.server.launch()
        if not struck or told is None:
            raise NotStruck(f"{filled} bytes were taken, and that was not enough")
        return f"{filled} bytes taken: {effect.__name__}; {told}"


def _complaint(server: PrivateServer) -> str | None:
    """The last thing that the server said of it."""
    lines = server.log.read_text(errors="replace").splitlines()
    return next((line for line in reversed(lines) if NO_SPACE in line), None)
