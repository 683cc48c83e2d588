"""Which of a field's processes a fault meets, and how it sees that the next life has begun."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from tests.faults.fault import NotStruck
from tests.faults.field import Field, Member
from tests.support.waiting import eventually

_BACK_WITHIN = timedelta(seconds=30)


def one_of(field: Field, members: Sequence[Member]) -> tuple[Member, int]:
    """Draw one that runs, with its pid."""
    running = [(member, pid) for member in members if (pid := member.pid) is not None]
    if not running:
        raise NotStruck("none of them was running")
    return field.chance.choice(running)


def leads(member: Member) -> bool:
    """Whether this daemon leads, as far as it has logged."""
    if member.process is None:
        return False
    last = [line["event"] for line in member.process.lines if line["event"] in _REIGNS]
    return bool(last) and last[-1] == "leadership.acquired"


_REIGNS = {"leadership.acquired", "leadership.lost"}


async def another_life(member: Member, pid: int) -> int:
    """Wait until a process with another pid runs; return it."""

    async def runs() -> int | None:
        return member.pid if member.pid != pid else None

    now = await eventually(runs, within=_BACK_WITHIN)
    assert now is not None
    return now


@asynccontextmanager
async def standstill(member: Member, pid: int) -> AsyncIterator[None]:
    """Stop a process for the length of the block; it goes on then, also when cancelled."""
    member.kill(signal.SIGSTOP)
    try:
        await eventually(lambda: _is_stopped(pid))
        yield
        if not await _is_stopped(pid):
            raise NotStruck(f"{pid} did not stay stopped")
    finally:
        member.kill(signal.SIGCONT)


async def _is_stopped(pid: int) -> bool:
    """Whether the kernel says that it stands still; NotStruck where it has gone."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        raise NotStruck(f"{pid} had gone") from None
    return status.rpartition(")")[2].split()[0] == "T"
