"""The whole state of one moment: server, flag, writers, addresses, leader. Every part is a value.

A scene says who writes; the world says how far everybody is. Writers come again for ever: once
everything about an affair was dispatched it begins anew. So a search that ends has looked at any
number of writers, of whom at most so many overlap as the scene has.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from itertools import count
from string import ascii_uppercase
from typing import NamedTuple

from tests.model.doorbell.postgres import Snapshot, Transactions
from tests.model.doorbell.protocol import Deed


class Half(Enum):
    """A dispatch needs two halves at one address."""

    HANDOFF = "a handoff"
    AGENT = "an agent that became idle"


class Row(NamedTuple):
    """What a writer writes: one half, at one of its affair's addresses."""

    half: Half = Half.HANDOFF
    address: int = 0


class Script(NamedTuple):
    """What a writer does in its transaction. Without rows it writes about something else."""

    rows: tuple[Row, ...] = ()
    locks: int | None = None
    """The address whose agent it has locked meanwhile, as a heartbeat does. It never rings."""
    once_dispatched: bool = False
    """It begins only after the idle agent has got a handoff: that agent completes it."""


class Plan(NamedTuple):
    """An affair: some addresses, and all who write about them."""

    scripts: tuple[Script, ...]
    idle: tuple[int, ...] = (1,)
    """How many agents are idle at each address from the start."""


@dataclass(frozen=True)
class Scene:
    """Who is there, and what may befall them. Affairs of the same plan are interchangeable."""

    plans: tuple[Plan, ...]
    aborts: bool = False
    savepoints: bool = False
    """A writer may roll back to a savepoint, after its trigger has read the flag."""
    leaders_die: bool = False
    server_dies: bool = False


class Stage(IntEnum):
    """How far a writer's transaction is."""

    NOT_BEGUN = auto()
    CHECKED = auto()
    """It has read the flag and has no xid yet: only with a BEFORE trigger."""
    OPEN = auto()
    COMMITTED = auto()


class Writer(NamedTuple):
    """A client in its transaction."""

    name: str
    script: Script
    stage: Stage = Stage.NOT_BEGUN
    xid: int = 0
    written: int = 0
    """How many of its rows it has written, so that the flag was read for each of them."""
    rings: tuple[int, ...] = ()
    """The addresses of notifications that are queued or, after the commit, on their way."""
    rang: bool = False
    """It has rung in this transaction, whatever was rolled back since."""
    given: tuple[bool, ...] = ()
    """Which of its rows were dispatched."""

    def afresh(self) -> "Writer":
        """Return the writer as it will come the next time."""
        return Writer(self.name, self.script, given=(False,) * len(self.script.rows))


class Address(NamedTuple):
    """Where handoffs and agents meet, and what the leader has been told of it."""

    name: str
    idle: int
    """Agents that are idle from the start and have got nothing yet."""
    rung: bool = False
    """A notification named it, and the leader has not read that yet."""
    named: bool = False
    """The leader will look at it."""


class Affair(NamedTuple):
    """Addresses and writers that have to do with each other and with nobody else."""

    plan: Plan
    addresses: tuple[Address, ...]
    writers: tuple[Writer, ...]

    def with_address(self, number: int, address: Address) -> "Affair":
        """Return the affair with one address changed."""
        addresses = (*self.addresses[:number], address, *self.addresses[number + 1 :])
        return self._replace(addresses=addresses)

    def with_writer(self, index: int, writer: Writer) -> "Affair":
        """Return the affair with one writer changed."""
        writers = (*self.writers[:index], writer, *self.writers[index + 1 :])
        return self._replace(writers=writers)


class Mode(IntEnum):
    """What the leader is about."""

    GONE = auto()
    SETTLING = auto()
    AWAKE = auto()
    QUIET = auto()


class Leader(NamedTuple):
    """The leader's memory, all of which dies with it."""

    mode: Mode = Mode.GONE
    todo: tuple[Deed, ...] = ()
    """What it will do next, before it chooses again."""
    listening: bool = False
    cursor: Snapshot | None = None
    """How far it has read the audit trail."""
    debt: int | None = None
    """Every writer below this xid must have ended before the leader may sleep."""


class World(NamedTuple):
    """Everything at one moment."""

    affairs: tuple[Affair, ...]
    transactions: Transactions = Transactions()
    hushed: bool = False
    leader: Leader = Leader()
    stray_hush: bool = False
    """A dead leader's setting of the flag that has yet to arrive."""

    def with_affair(self, index: int, affair: Affair) -> "World":
        """Return the world with one affair changed."""
        return self._replace(affairs=(*self.affairs[:index], affair, *self.affairs[index + 1 :]))

    def led(self, leader: Leader) -> "World":
        """Return the world with another state of the leader."""
        return self._replace(leader=leader)


def opening(scene: Scene) -> World:
    """Before the first reign: nobody leads, nobody writes."""
    numbers, letters = count(1), iter(ascii_uppercase)
    affairs = []
    for plan in scene.plans:
        writers = (Writer(f"writer {next(numbers)}", script).afresh() for script in plan.scripts)
        addresses = (Address(next(letters), idle) for idle in plan.idle)
        affairs.append(Affair(plan, tuple(addresses), tuple(writers)))
    return World(tuple(affairs))


def renewed(affair: Affair) -> Affair:
    """Begin an affair anew once all about it is dispatched and nothing is on its way."""
    if not all(_is_done(one) for one in affair.writers if one.script.rows):
        return affair
    return affair._replace(
        writers=tuple(one.afresh() if one.script.rows else one for one in affair.writers),
        addresses=tuple(
            one._replace(idle=idle)
            for one, idle in zip(affair.addresses, affair.plan.idle, strict=True)
        ),
    )


def _is_done(writer: Writer) -> bool:
    return writer.stage is Stage.COMMITTED and not writer.rings and all(writer.given)


def committed(affair: Affair, half: Half, address: int) -> list[tuple[int, int]]:
    """Which rows of this half a new snapshot sees waiting there, as (writer, row)."""
    return [
        (index, number)
        for index, writer in enumerate(affair.writers)
        if writer.stage is Stage.COMMITTED
        for number, row in enumerate(writer.script.rows)
        if row.half is half and row.address == address and not writer.given[number]
    ]


def is_dispatchable(affair: Affair, address: int) -> bool:
    """Whether a handoff waits at the address beside an idle agent, both committed."""
    if not committed(affair, Half.HANDOFF, address):
        return False
    return affair.addresses[address].idle > 0 or bool(committed(affair, Half.AGENT, address))


def is_asleep(world: World) -> bool:
    """Whether the leader sleeps, nobody has a transaction open and nothing is on its way."""
    return (
        world.leader.mode is Mode.QUIET
        and not world.leader.todo
        and not any(one.rung or one.named for affair in world.affairs for one in affair.addresses)
        and not any(_is_active(one) for affair in world.affairs for one in affair.writers)
    )


def _is_active(writer: Writer) -> bool:
    return writer.stage in {Stage.CHECKED, Stage.OPEN} or bool(writer.rings)


def overlooked(world: World) -> list[str]:
    """Name the addresses where work waits though nobody will ever look: the loss."""
    if not is_asleep(world):
        return []
    return [
        address.name
        for affair in world.affairs
        for index, address in enumerate(affair.addresses)
        if is_dispatchable(affair, index)
    ]
