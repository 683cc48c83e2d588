"""The doorbell's protocol, as data: what the leader does, in which order, and when a writer rings.

The flag says "ring" or "hush". It is an unlogged sequence: whoever reads it sees the present, and
setting it is at once and cannot be undone. The trigger of every write that can make a handoff
dispatchable reads it, leaves a row in the audit trail, and notifies unless the flag says "hush".
The leader raises the flag (hush) in a burst and finds by the trail what is silent; it lowers it
(ring) and sleeps once no silent writer can be left.

    begins a reign   listen; lower; owe; mark; scan all           then settles
    settles          take rings, read the trail, look; again and again. It may raise at any time.
                     When nothing is owed after such a read it is quiet.
    is quiet         sleeps until something rings; take rings, look; and it may raise
    raises           mark, unless an older mark stands; hush      then is awake
    is awake         take rings, read the trail, look; again and again, until it lowers
    lowers           lower; owe                                   then settles

To *owe* is to note an own xid, taken after the flag said "ring". A writer that read "hush" had its
xid before it read, hence a lower one. A read of the trail whose own snapshot has no running xid
below the debt has therefore seen every silent writer's row: the debt is paid.
To *mark* is to note a snapshot, as the place from which the trail is to be read.

Every other `Protocol` is ours with one thing changed (`variants`).
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum, auto


class Deed(IntEnum):
    """One thing that the leader does at once. Those of our protocol come first."""

    LISTEN = auto()
    LOWER = auto()
    """The flag says "ring"."""
    HUSH = auto()
    """The flag says "hush"; debt := none, since the next lowering takes a later one."""
    OWE = auto()
    """debt := an xid of its own."""
    MARK = auto()
    """cursor := a snapshot, unless an older cursor stands."""
    SCAN = auto()
    """Dispatch whatever can be, anywhere."""
    TAKE_RINGS = auto()
    """What rang will be looked at; the bell is clear again."""
    READ = auto()
    """Learn from the trail what is new; cursor := this read's snapshot, which may pay the debt."""
    LOOK = auto()
    """Dispatch what can be, at the addresses that rang or were read of."""

    HUSH_OWING = auto()
    """HUSH, but the debt stays."""
    OWE_XMAX = auto()
    """debt := xmax of a snapshot."""
    OWE_NEXT = auto()
    """debt := the next xid, without taking it."""
    OWE_OLDEST = auto()
    """debt := an xid of its own, unless an older debt is open."""
    MARK_ANEW = auto()
    """cursor := a snapshot, whatever it was."""
    NOTE_RINGS = auto()
    """What rang will be looked at; the bell stays rung."""
    DROP_RINGS = auto()
    """The bell is clear again, whatever rang."""
    READ_ON = auto()
    """READ, but its snapshot does not pay the debt."""
    READ_PAGE = auto()
    """READ, but learn of one address and set the cursor past them all."""
    JUDGE = auto()
    """Pay the debt by a snapshot of the moment."""


class Trail(StrEnum):
    """Which events a read takes, from the cursor on."""

    BETWEEN_SNAPSHOTS = "what the cursor's snapshot could not see and this one can"
    ABOVE_XMAX = "xid >= xmax of the cursor: those under way then are left out"
    ABOVE_XMIN = "xid >= xmin of the cursor: some are taken again and again"
    BELOW_HORIZON = "from one xmin to the next: what ran longer than others is taken late"


class Check(StrEnum):
    """When a writer reads the flag."""

    AFTER = "in an AFTER trigger, with its xid"
    BEFORE = "in a BEFORE trigger, before the first write has given it an xid"


Deeds = tuple[Deed, ...]

_READING = (Deed.TAKE_RINGS, Deed.READ, Deed.LOOK)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What leader and writers do. The defaults are our protocol."""

    begin_reign: Deeds = (Deed.LISTEN, Deed.LOWER, Deed.OWE, Deed.MARK, Deed.SCAN)
    settle: Deeds = _READING
    answer: Deeds = (Deed.TAKE_RINGS, Deed.LOOK)
    answer_and_raise: Deeds = (Deed.TAKE_RINGS, Deed.LOOK, Deed.MARK, Deed.HUSH)
    raise_flag: Deeds = (Deed.MARK, Deed.HUSH)
    read_awake: Deeds = _READING
    lower_flag: Deeds = (Deed.LOWER, Deed.OWE)
    fall_asleep: Deeds = ()
    """What it does between the last read and its sleep."""

    trail: Trail = Trail.BETWEEN_SNAPSHOTS
    check: Check = Check.AFTER
    agents_in_trail: bool = True
    """Whether an agent that became idle leaves an event, or handoffs alone do."""
    keeps_left_over: bool = True
    """Whether an address is looked at again where a locked row was skipped."""
    one_session: bool = True
    """Whether the flag is set in the session that holds the leader's lock, and dies with it."""
    rings_once: bool = False
    """A transaction that has rung does not ring again."""
    spares_idle: bool = False
    """An agent that becomes idle does not ring where it sees no handoff."""
    delivers_early: bool = False
    """A notification may arrive before its sender's commit is visible. Not so in PostgreSQL."""


OURS = Protocol()
