"""As much of PostgreSQL as the doorbell stands on: transactions, and what a snapshot sees of them.

A transaction gets its xid at its first write and ends when it leaves the ProcArray. Both, and
taking a snapshot, are one step each, for one lock orders them in the server. What follows an end,
the release of locks and then the signal to listeners, is told by `writers`; row locks need no step
of their own, since whoever meets one asks the ProcArray whether its owner still runs.

A snapshot's xmax is the latest xid that has *ended*, plus one; not the next xid. So the newest
running transaction may stand in no list and below no limit (xid 101 runs, the snapshot is
101:101:), and who takes xmax for "all that were there" has lost it.
"""

from typing import NamedTuple


class Snapshot(NamedTuple):
    """What a statement sees, in the terms of `pg_current_snapshot()`."""

    xmin: int
    xmax: int
    under_way: tuple[int, ...]

    def sees(self, xid: int) -> bool:
        """Whether that transaction had ended, so that what it committed is visible."""
        return xid < self.xmax and xid not in self.under_way

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.under_way))}"


class Transactions(NamedTuple):
    """The server's transactions that have an xid: the next, the last ended, those that run."""

    next_xid: int = 101
    xmax: int = 101
    """The latest ended xid, plus one."""
    running: tuple[int, ...] = ()
    """In ascending order."""

    def snapshot(self) -> Snapshot:
        """What a statement that begins now will see."""
        under_way = tuple(xid for xid in self.running if xid < self.xmax)
        return Snapshot(under_way[0] if under_way else self.xmax, self.xmax, under_way)

    def begun(self) -> "Transactions":
        """Give `next_xid` to a transaction that writes for the first time."""
        return Transactions(self.next_xid + 1, self.xmax, (*self.running, self.next_xid))

    def ended(self, xid: int) -> "Transactions":
        """Let a transaction leave, whether it committed or not."""
        running = tuple(one for one in self.running if one != xid)
        return Transactions(self.next_xid, max(self.xmax, xid + 1), running)

    def passed(self) -> "Transactions":
        """Give `next_xid` to a transaction that ends at once."""
        return self.begun().ended(self.next_xid)

    def crashed(self) -> "Transactions":
        """Start the server again: whatever ran has ended."""
        return Transactions(self.next_xid, self.next_xid)
