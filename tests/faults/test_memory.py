"""Memory stays flat, however much passes through and however often connections are lost."""

import os
import random
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from tests.faults.blows.sessions_terminated import SessionsTerminated
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.faults.ground import beside, durable_database, field_of
from tests.faults.seeds import SEED, SOAK

SHORT = timedelta(seconds=40)
WARMED_UP_AFTER = 0.4
"""Of the whole time: what was allocated by then is what the work needs."""
GROWTH_ALLOWED_MB = 4.0
BETWEEN_LOSSES_S = 2.0
RATE = 80.0
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_a_daemon_and_its_agents_need_no_more_memory_after_much_work() -> None:
    sys.stdout.write(f"COORDINATOR_TEST_SEED={SEED}\n")
    lasts = max(SHORT, SOAK / 12)
    async with (
        durable_database() as database,
        field_of(database, beside(database, daemons=1), random.Random(SEED), rate=RATE) as field,
    ):
        await work_on(field, lasts * WARMED_UP_AFTER)
        warm = memory_of(field)
        await work_on(field, lasts * (1 - WARMED_UP_AFTER))
        late = memory_of(field)

        sys.stdout.write(f"{warm} MB, then {late} MB\n")
        assert warm.keys() == late.keys(), "one of them ended"
        grown = {name: late[name] - warm[name] for name in warm}
        assert max(grown.values()) < GROWTH_ALLOWED_MB, grown


async def work_on(field: Field, duration: timedelta) -> None:
    """Let the load go on, and take everybody's connections away again and again."""
    with anyio.move_on_after(duration.total_seconds()):
        while True:
            await anyio.sleep(BETWEEN_LOSSES_S)  # the load itself
            with suppress(NotStruck):  # nobody has come back yet
                await SessionsTerminated().strike(field)


def memory_of(field: Field) -> dict[str, float]:
    """Resident memory of each process, by its name and pid, in MB."""
    return {
        f"{member.name} {member.pid}": round(_resident_mb(member.pid), 1)
        for member in (*field.daemons, *field.agents)
        if member.pid is not None
    }


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
