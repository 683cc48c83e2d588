"""What a look of the leader does: it pairs handoffs with idle agents at the addresses named to it.

It reads the tables through a snapshot of its own, later than the one in which it was named.
"""

from tests.model.doorbell.protocol import Protocol
from tests.model.doorbell.world import (
    Affair,
    Half,
    Stage,
    committed,
    is_dispatchable,
    renewed,
)


def dispatched(affair: Affair, protocol: Protocol) -> tuple[Affair, list[str]]:
    """Look at the named addresses of an affair; name those where something was dispatched."""
    given = []
    for number, address in enumerate(affair.addresses):
        if not address.named:
            continue
        left_over = is_dispatchable(affair, number)
        if left_over and not _is_locked(affair, number):
            affair, left_over = _given(affair, number), False
            given.append(address.name)
        looked_at = affair.addresses[number]._replace(named=left_over and protocol.keeps_left_over)
        affair = affair.with_address(number, looked_at)
    return renewed(affair), given


def _is_locked(affair: Affair, number: int) -> bool:
    return any(
        writer.stage is Stage.OPEN and writer.script.locks == number for writer in affair.writers
    )


def _given(affair: Affair, number: int) -> Affair:
    """Pair the handoffs that wait at an address with its idle agents."""
    waiting = committed(affair, Half.HANDOFF, number)
    freed = committed(affair, Half.AGENT, number)
    idle = affair.addresses[number].idle
    pairs = min(len(waiting), idle + len(freed))
    rows = {*waiting[:pairs], *freed[: max(pairs - idle, 0)]}
    writers = tuple(
        writer._replace(
            given=tuple(done or (index, row) in rows for row, done in enumerate(writer.given))
        )
        for index, writer in enumerate(affair.writers)
    )
    address = affair.addresses[number]._replace(idle=max(idle - pairs, 0))
    return affair._replace(writers=writers).with_address(number, address)
