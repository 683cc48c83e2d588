"""What of a world matters for all that can follow, so that worlds which differ in names are one.

Xids count only by their order among those that run, a cursor only by whose events it has passed,
the latest ended xid only where a protocol makes something of it, and affairs of the same plan may
change places. So the search ends, though the leader goes round
for ever and writers come again and again.
"""

from bisect import bisect_left
from collections.abc import Hashable
from typing import Any

from tests.model.doorbell.protocol import Deed, Protocol, Trail
from tests.model.doorbell.trail import has_passed
from tests.model.doorbell.world import Affair, Stage, World, Writer

_BY_XMIN = {Trail.ABOVE_XMIN, Trail.BELOW_HORIZON}


def form(world: World, protocol: Protocol) -> tuple[Hashable, ...]:
    """Return a value, in parts, that two worlds share only if the same can follow from both."""
    kinds: dict[int, list[Any]] = {}
    for affair in world.affairs:
        kinds.setdefault(id(affair.plan), []).append(_affair(affair, world, protocol))
    alike = (affair for affairs in kinds.values() for affair in sorted(affairs))
    return (_leader(world, protocol), *alike)


def _leader(world: World, protocol: Protocol) -> Hashable:
    running, leader = world.transactions.running, world.leader
    return (
        world.hushed,
        world.stray_hush,
        leader.mode,
        leader.todo,
        leader.listening,
        leader.cursor is None,
        None if leader.debt is None else bisect_left(running, leader.debt),
        bisect_left(running, world.transactions.xmax) if _minds_xmax(protocol) else None,
    )


def _minds_xmax(protocol: Protocol) -> bool:
    return protocol.trail is Trail.ABOVE_XMAX or Deed.OWE_XMAX in protocol.lower_flag


def _affair(affair: Affair, world: World, protocol: Protocol) -> tuple[Any, ...]:
    return (
        tuple((one.idle, one.rung, one.named) for one in affair.addresses),
        tuple(_writer(one, world, protocol) for one in affair.writers),
    )


def _writer(writer: Writer, world: World, protocol: Protocol) -> tuple[Any, ...]:
    place, passed = -1, False
    if writer.stage is Stage.OPEN or protocol.trail in _BY_XMIN:
        place = bisect_left(world.transactions.running, writer.xid)
    if writer.stage >= Stage.OPEN and not all(writer.given):
        passed = has_passed(protocol, world.leader.cursor, writer.xid)
    rings = writer.rings, writer.rang and protocol.rings_once
    return (writer.stage, writer.written, rings, writer.given, place, passed)
