"""Protocols that are ours with one thing changed, and what each must come to.

The scene of a variant is the smallest in which its loss shows; those that hold are searched in the
scenes in which they would most likely lose.
"""

from dataclasses import dataclass

from tests.model.doorbell.protocol import Check, Deed, Protocol, Trail
from tests.model.doorbell.scenes import (
    A_HEARTBEAT,
    A_SUCCESSOR,
    SAVEPOINTS,
    TWO_HALVES,
    TWO_ROWS,
    TWO_STRANGERS,
)
from tests.model.doorbell.world import Scene


@dataclass(frozen=True)
class Variant:
    """A protocol that somebody might have written, and why it loses or holds."""

    name: str
    protocol: Protocol
    why: str
    scene: Scene = TWO_STRANGERS


_LISTEN, _LOWER, _HUSH, _OWE = Deed.LISTEN, Deed.LOWER, Deed.HUSH, Deed.OWE
_MARK, _SCAN, _TAKE, _READ, _LOOK = Deed.MARK, Deed.SCAN, Deed.TAKE_RINGS, Deed.READ, Deed.LOOK


def _lowering(*deeds: Deed) -> Protocol:
    """Lower by these deeds, at the start of a reign as well."""
    return Protocol(begin_reign=(_LISTEN, *deeds, _MARK, _SCAN), lower_flag=deeds)


def _raising(*deeds: Deed) -> Protocol:
    return Protocol(raise_flag=deeds, answer_and_raise=(_TAKE, _LOOK, *deeds))


def _reign(*deeds: Deed) -> Protocol:
    return Protocol(begin_reign=deeds)


def _answering(*deeds: Deed) -> Protocol:
    return Protocol(answer=deeds, answer_and_raise=(*deeds, _MARK, _HUSH))


def _reading(*deeds: Deed) -> Protocol:
    return Protocol(settle=deeds, read_awake=deeds)


LOSE = (
    # The debt -----------------------------------------------------------------------------------
    Variant(
        "debt is the xmax of a snapshot",
        _lowering(_LOWER, Deed.OWE_XMAX),
        "xmax is the last ended xid plus one: the newest running writer is not below it",
    ),
    Variant(
        "debt is an xid taken before lowering",
        _lowering(_OWE, _LOWER),
        "a writer that begins between the two has a higher xid and still reads hush",
    ),
    Variant(
        "no debt",
        Protocol(lower_flag=(_LOWER,)),
        "silent writers are still open when the leader falls asleep",
    ),
    Variant(
        "one more read instead of a debt",
        Protocol(lower_flag=(_LOWER, _TAKE, _READ, _LOOK)),
        "it cannot see who is still open",
    ),
    Variant(
        "a later lowering keeps the older debt",
        Protocol(raise_flag=(_MARK, Deed.HUSH_OWING), lower_flag=(_LOWER, Deed.OWE_OLDEST)),
        "writers that began while the flag was up again are above it",
    ),
    Variant(
        "a later snapshot decides that the debt is paid",
        Protocol(settle=(_TAKE, Deed.READ_ON, _LOOK, Deed.JUDGE)),
        "a silent writer commits between the read and that snapshot",
    ),
    Variant(
        "leader sleeps without lowering",
        Protocol(lower_flag=()),
        "nobody rings",
    ),
    # The cursor ---------------------------------------------------------------------------------
    Variant(
        "cursor is taken after raising",
        _raising(_HUSH, _MARK),
        "who reads hush and commits between the two is behind the cursor",
    ),
    Variant(
        "raising takes a new cursor though a debt is open",
        _raising(Deed.MARK_ANEW, _HUSH),
        "it passes what has committed in silence since the last read",
    ),
    Variant(
        "trail is read from the cursor's xmax on",
        Protocol(trail=Trail.ABOVE_XMAX),
        "writers that were under way in the cursor's snapshot are left out for good",
    ),
    Variant(
        "a page of the trail is read, and the cursor set past all",
        _reading(_TAKE, Deed.READ_PAGE, _LOOK),
        "what was beyond the page is never read",
    ),
    Variant(
        "an agent that becomes idle leaves no event",
        Protocol(agents_in_trail=False),
        "the handoff was looked at before its agent was free",
        TWO_HALVES,
    ),
    # The bell -----------------------------------------------------------------------------------
    Variant(
        "bell is cleared after the look",
        _answering(Deed.NOTE_RINGS, _LOOK, Deed.DROP_RINGS),
        "what rings during the look is cleared with the rest",
    ),
    Variant(
        "rings are dropped while awake",
        Protocol(read_awake=(Deed.DROP_RINGS, _READ, _LOOK)),
        "who rang before the raising, and is behind its cursor, is in no read",
    ),
    Variant(
        "a notification arrives before its commit is visible",
        Protocol(delivers_early=True),
        "the look finds nothing; PostgreSQL does not do so",
    ),
    Variant(
        "what a locked row kept from dispatch is forgotten",
        Protocol(keeps_left_over=False),
        "a heartbeat held the agent's row, and heartbeats never ring",
        A_HEARTBEAT,
    ),
    # The writer ---------------------------------------------------------------------------------
    Variant(
        "flag is read in a BEFORE trigger",
        Protocol(check=Check.BEFORE),
        "its xid comes after the debt",
    ),
    Variant(
        "a transaction rings once, whatever was rolled back",
        Protocol(rings_once=True),
        "the ring was undone with the savepoint",
        SAVEPOINTS,
    ),
    Variant(
        "a transaction rings once, whatever it names",
        Protocol(rings_once=True),
        "the second address was not named",
        TWO_ROWS,
    ),
    Variant(
        "an agent that sees no handoff becomes idle in silence",
        Protocol(spares_idle=True),
        "handoff and agent look past each other",
        TWO_HALVES,
    ),
    # The reign ----------------------------------------------------------------------------------
    Variant(
        "successor trusts the flag",
        _reign(_LISTEN, _OWE, _MARK, _SCAN),
        "the dead leader has left it up",
        A_SUCCESSOR,
    ),
    Variant(
        "successor owes nothing",
        _reign(_LISTEN, _LOWER, _MARK, _SCAN),
        "the dead leader's silent writers are still open",
        A_SUCCESSOR,
    ),
    Variant(
        "successor owes before it lowers",
        _reign(_LISTEN, _OWE, _LOWER, _MARK, _SCAN),
        "as with any lowering",
        A_SUCCESSOR,
    ),
    Variant(
        "successor takes its cursor after the full scan",
        _reign(_LISTEN, _LOWER, _OWE, _SCAN, _MARK),
        "who commits in silence between the two is in neither",
        A_SUCCESSOR,
    ),
    Variant(
        "successor does not scan",
        _reign(_LISTEN, _LOWER, _OWE, _MARK),
        "what was there before its cursor is in no read",
        A_SUCCESSOR,
    ),
    Variant(
        "successor listens only before it sleeps",
        Protocol(begin_reign=(_LOWER, _OWE, _MARK, _SCAN), fall_asleep=(_LISTEN,)),
        "who rings between the last read and that is not heard",
    ),
    Variant(
        "flag is set in another session than the leader's lock",
        Protocol(one_session=False),
        "a dead leader's hush arrives after its successor has lowered",
        A_SUCCESSOR,
    ),
)

HOLD = (
    Variant(
        "debt is the next xid, read and not taken",
        _lowering(_LOWER, Deed.OWE_NEXT),
        "every xid given out before is below it; ours spares an obscure way to read it",
    ),
    Variant(
        "an earlier snapshot decides that the debt is paid",
        Protocol(settle=(_TAKE, Deed.JUDGE, Deed.READ_ON, _LOOK)),
        "what had ended by then, the read that follows sees",
    ),
    Variant(
        "leader raises before it answers what rang",
        Protocol(answer_and_raise=(_MARK, _HUSH)),
        "its first read while awake takes up the rings as well",
    ),
    Variant(
        "successor marks before all else",
        _reign(_MARK, _LISTEN, _LOWER, _OWE, _SCAN),
        "an older cursor only reads more",
        A_SUCCESSOR,
    ),
    Variant(
        "successor owes after its scan",
        _reign(_LISTEN, _LOWER, _MARK, _SCAN, _OWE),
        "a later debt is only stronger, and what counts is the read that pays it",
        A_SUCCESSOR,
    ),
    Variant(
        "successor listens after its scan",
        _reign(_LOWER, _OWE, _MARK, _SCAN, _LISTEN),
        "the read that pays the debt comes later still and sees who was not heard",
        A_SUCCESSOR,
    ),
    Variant(
        "trail is read from the cursor's xmin on",
        Protocol(trail=Trail.ABOVE_XMIN),
        "it names some again and again, behind any long transaction, but leaves nobody out",
    ),
    Variant(
        "trail is read up to the horizon",
        Protocol(trail=Trail.BELOW_HORIZON),
        "the debt is paid at the same horizon; until then any long transaction holds it up",
    ),
)
