"""What the leader learns from the audit trail, by its cursor.

An event is written in the transaction that makes something dispatchable, and carries its xid. What
is new lies between two snapshots: the cursor's could not see it, and this one can. As in
`store/sql/read_events.sql`.
"""

from tests.model.doorbell.postgres import Snapshot
from tests.model.doorbell.protocol import Protocol, Trail
from tests.model.doorbell.world import Half, Stage, World, Writer


def news(world: World, protocol: Protocol) -> tuple[Snapshot, list[tuple[int, int]]]:
    """Which addresses, as (affair, address), a read of the trail names, and its snapshot.

    Events of what was dispatched meanwhile name it too; a look there is only to the good, so it is
    left out.
    """
    now = world.transactions.snapshot()
    return now, [
        (place, row.address)
        for place, affair in enumerate(world.affairs)
        for writer in affair.writers
        if writer.stage is Stage.COMMITTED
        and _is_within(protocol, now, writer)
        and not has_passed(protocol, world.leader.cursor, writer.xid)
        for row, given in zip(writer.script.rows, writer.given, strict=True)
        if not given and (protocol.agents_in_trail or row.half is Half.HANDOFF)
    ]


def _is_within(protocol: Protocol, now: Snapshot, writer: Writer) -> bool:
    if protocol.trail is Trail.BELOW_HORIZON:
        return writer.xid < now.xmin
    return now.sees(writer.xid)


def has_passed(protocol: Protocol, cursor: Snapshot | None, xid: int) -> bool:
    """Whether a read from the cursor on no longer takes that transaction's events."""
    if cursor is None:
        return False
    match protocol.trail:
        case Trail.BETWEEN_SNAPSHOTS:
            return cursor.sees(xid)
        case Trail.ABOVE_XMAX:
            return xid < cursor.xmax
        case Trail.ABOVE_XMIN | Trail.BELOW_HORIZON:
            return xid < cursor.xmin
