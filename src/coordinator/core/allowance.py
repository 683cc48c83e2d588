"""How often one may look in vain, where anybody may ask for a look.

A notification is a hint that every login of the database can forge. What it costs is bounded here:
looks that find nothing may take a share of the time; looks that find work are what one is there
for, and give some of it back.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Allowance:
    """A budget of seconds for looks in vain; instants are seconds on any one clock.

    A look costs the time it took, but from `least` to `most`. `share` comes back each second, up to
    `saved`, which may be used up at once. So one never rests longer than `most` / `share`.
    """

    share: float
    least: float
    most: float
    saved: float
    _left: float = field(init=False)
    _at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Begin with everything saved."""
        self._left = self.saved

    def spend(self, took: float, *, now: float) -> None:
        """Pay for a look that found nothing."""
        self._refill(now)
        self._left = max(self._left - min(max(took, self.least), self.most), -self.most)

    def earn(self, *, now: float) -> None:
        """A look found something: it gives back what the shortest look costs."""
        self._refill(now)
        self._left = min(self._left + self.least, self.saved)

    def rest(self, *, now: float) -> float:
        """How many seconds to wait before the next look."""
        self._refill(now)
        return max(-self._left / self.share, 0.0)

    def _refill(self, now: float) -> None:
        self._left = min(self._left + max(now - self._at, 0) * self.share, self.saved)
        self._at = now
