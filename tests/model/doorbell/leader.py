"""What the leader may do next: the deed that is due, or what it chooses when none is.

Its own short transactions, the one that takes the debt and each dispatch, are one step, though
they take an xid and end in two: only the leader takes snapshots here, so nobody could tell a
writer that came between the two from one that came after.
"""

from collections.abc import Callable, Iterator

from tests.model.doorbell.dispatch import dispatched
from tests.model.doorbell.postgres import Snapshot
from tests.model.doorbell.protocol import Deed, Deeds, Protocol
from tests.model.doorbell.trail import news
from tests.model.doorbell.world import Mode, World
from tests.model.doorbell.writers import Step


def steps(world: World, protocol: Protocol) -> Iterator[Step]:
    """Every next step of the leader, told in a sentence, with the world after it."""
    leader = world.leader
    if leader.todo:
        rest = world.led(leader._replace(todo=leader.todo[1:]))
        for told, after in _DEEDS[leader.todo[0]](rest, protocol):
            yield f"The leader {told}.", _go_on(after, protocol)
    else:
        for todo, mode in _choices(world, protocol):
            going = world.led(leader._replace(todo=todo, mode=mode))
            yield from steps(going, protocol)


def _choices(world: World, protocol: Protocol) -> Iterator[tuple[Deeds, Mode]]:
    match world.leader.mode:
        case Mode.GONE:
            yield protocol.begin_reign, Mode.SETTLING
        case Mode.SETTLING:
            yield protocol.settle, Mode.SETTLING
            yield protocol.raise_flag, Mode.AWAKE
        case Mode.AWAKE:
            yield protocol.read_awake, Mode.AWAKE
            yield protocol.lower_flag, Mode.SETTLING
        case Mode.QUIET:
            if any(one.rung or one.named for affair in world.affairs for one in affair.addresses):
                yield protocol.answer, Mode.QUIET
                yield protocol.answer_and_raise, Mode.AWAKE


def _go_on(world: World, protocol: Protocol) -> World:
    """Leave out a look at nothing, and fall asleep if all is done and nothing is owed."""
    leader = world.leader
    if leader.todo[:1] == (Deed.LOOK,) and not any(
        one.named for affair in world.affairs for one in affair.addresses
    ):
        return _go_on(world.led(leader._replace(todo=leader.todo[1:])), protocol)
    if leader.todo or leader.mode is not Mode.SETTLING or leader.debt is not None:
        return world
    return world.led(leader._replace(mode=Mode.QUIET, cursor=None, todo=protocol.fall_asleep))


# What each deed does -------------------------------------------------------------------------


def _listen(world: World, _: Protocol) -> Iterator[Step]:
    yield "listens", world.led(world.leader._replace(listening=True))


def _lower(world: World, _: Protocol) -> Iterator[Step]:
    yield 'sets the flag to "ring"', world._replace(hushed=False)


def _hush(world: World, _: Protocol) -> Iterator[Step]:
    yield 'sets the flag to "hush"', _owing_nothing(world)._replace(hushed=True)


def _hush_owing(world: World, _: Protocol) -> Iterator[Step]:
    yield 'sets the flag to "hush" and keeps its debt', world._replace(hushed=True)


def _owe(world: World, _: Protocol) -> Iterator[Step]:
    xid = world.transactions.next_xid
    after = world._replace(transactions=world.transactions.passed())
    yield f"takes an xid, {xid}, for its debt", _owing(after, xid)


def _owe_oldest(world: World, protocol: Protocol) -> Iterator[Step]:
    if world.leader.debt is None:
        yield from _owe(world, protocol)
    else:
        yield f"keeps its debt, {world.leader.debt}", world


def _owe_next(world: World, _: Protocol) -> Iterator[Step]:
    xid = world.transactions.next_xid
    yield f"reads the next xid, {xid}, for its debt", _owing(world, xid)


def _owe_xmax(world: World, _: Protocol) -> Iterator[Step]:
    now = world.transactions.snapshot()
    yield f"takes the xmax of snapshot {now} for its debt", _owing(world, now.xmax)


def _owing(world: World, xid: int) -> World:
    return world.led(world.leader._replace(debt=xid))


def _mark(world: World, protocol: Protocol) -> Iterator[Step]:
    if world.leader.cursor is None:
        yield from _mark_anew(world, protocol)
    else:
        yield f"keeps its cursor, {world.leader.cursor}", world


def _mark_anew(world: World, _: Protocol) -> Iterator[Step]:
    now = world.transactions.snapshot()
    yield f"takes snapshot {now} for its cursor", world.led(world.leader._replace(cursor=now))


def _take_rings(world: World, _: Protocol) -> Iterator[Step]:
    yield _heard(world, named=True, clear=True, told="takes up what rang: {}")


def _note_rings(world: World, _: Protocol) -> Iterator[Step]:
    yield _heard(world, named=True, clear=False, told="notes what rang, {}, and does not clear it")


def _drop_rings(world: World, _: Protocol) -> Iterator[Step]:
    yield _heard(world, named=False, clear=True, told="clears the bell of {}")


def _heard(world: World, *, named: bool, clear: bool, told: str) -> Step:
    rung = [one.name for affair in world.affairs for one in affair.addresses if one.rung]
    affairs = tuple(
        affair._replace(
            addresses=tuple(
                one._replace(rung=one.rung and not clear, named=one.named or (named and one.rung))
                for one in affair.addresses
            )
        )
        for affair in world.affairs
    )
    return told.format(", ".join(rung) or "nothing"), world._replace(affairs=affairs)


def _read(world: World, protocol: Protocol) -> Iterator[Step]:
    for told, after in _read_on(world, protocol):
        yield _judged(told, after, world.transactions.snapshot())


def _judge(world: World, _: Protocol) -> Iterator[Step]:
    now = world.transactions.snapshot()
    yield _judged(f"looks at snapshot {now}", world, now)


def _judged(told: str, world: World, now: Snapshot) -> Step:
    leader = world.leader
    if leader.mode is not Mode.SETTLING or leader.debt is None:
        return told, world
    if now.xmin < leader.debt:
        return f"{told}; xmin is below {leader.debt}, it still owes", world
    return f"{told}; xmin has reached {leader.debt}, nothing is owed", _owing_nothing(world)


def _owing_nothing(world: World) -> World:
    return world.led(world.leader._replace(debt=None))


def _read_on(world: World, protocol: Protocol) -> Iterator[Step]:
    now, named = news(world, protocol)
    names = ", ".join(sorted({_at(world, place, number) for place, number in named}))
    after = world.led(world.leader._replace(cursor=now))
    for place, number in named:
        after = _named(after, place, number)
    yield f"reads the trail up to {now} and learns of {names or 'nothing'}", after


def _read_page(world: World, protocol: Protocol) -> Iterator[Step]:
    now, named = news(world, protocol)
    after = world.led(world.leader._replace(cursor=now))
    for place, number in named:
        told = f"reads one page of the trail up to {now}, on which is {_at(world, place, number)}"
        yield _judged(told, _named(after, place, number), now)
    if not named:
        yield _judged(f"reads the trail up to {now} and learns of nothing", after, now)


def _at(world: World, place: int, number: int) -> str:
    return world.affairs[place].addresses[number].name


def _named(world: World, place: int, number: int) -> World:
    affair = world.affairs[place]
    address = affair.addresses[number]._replace(named=True)
    return world.with_affair(place, affair.with_address(number, address))


def _scan(world: World, protocol: Protocol) -> Iterator[Step]:
    everywhere = world
    for place, affair in enumerate(world.affairs):
        for number in range(len(affair.addresses)):
            everywhere = _named(everywhere, place, number)
    for told, after in _look(everywhere, protocol):
        yield told.replace("looks", "scans all", 1), after


def _look(world: World, protocol: Protocol) -> Iterator[Step]:
    looked = [dispatched(affair, protocol) for affair in world.affairs]
    given = [name for _, names in looked for name in names]
    after = world._replace(affairs=tuple(affair for affair, _ in looked))
    if not given:
        yield "looks and finds nothing to dispatch", after
        return
    after = after._replace(transactions=after.transactions.passed())
    told = f"looks and dispatches at {', '.join(given)}: xid {world.transactions.next_xid}"
    yield told, after


_DEEDS: dict[Deed, Callable[[World, Protocol], Iterator[Step]]] = {
    Deed.LISTEN: _listen,
    Deed.LOWER: _lower,
    Deed.HUSH: _hush,
    Deed.OWE: _owe,
    Deed.MARK: _mark,
    Deed.SCAN: _scan,
    Deed.TAKE_RINGS: _take_rings,
    Deed.READ: _read,
    Deed.LOOK: _look,
    Deed.HUSH_OWING: _hush_owing,
    Deed.OWE_XMAX: _owe_xmax,
    Deed.OWE_NEXT: _owe_next,
    Deed.OWE_OLDEST: _owe_oldest,
    Deed.MARK_ANEW: _mark_anew,
    Deed.NOTE_RINGS: _note_rings,
    Deed.DROP_RINGS: _drop_rings,
    Deed.READ_ON: _read_on,
    Deed.READ_PAGE: _read_page,
    Deed.JUDGE: _judge,
}
