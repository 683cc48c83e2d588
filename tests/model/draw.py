"""The dice: which agent, which handoff, which token a deed is about."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from coordinator.core.lifecycle import COMPLETED, AgentState
from tests.model.ledger import Claim, Ledger, Life
from tests.model.shapes import Shapes

NAMES = (
    *("ada", "bob", "cleo", "dan", "eli", "fay", "gus", "hal", "ivy", "jon", "kim", "leo"),
    *("mia", "ned", "ola", "pia", "quy", "rio", "Zoë von Ö", "审稿人", 'o\'hara "x"', "😀;--"),
)
CREWS = ("reviewer", "tester", "writer")
STRANGERS = ("eve", "mallory")
"""Senders that are no agents."""
ADDRESSES = (*NAMES, *CREWS)

Item = TypeVar("Item")


@dataclass(slots=True)
class Draw:
    """Choices from what there is; the same seed makes the same choices."""

    ledger: Ledger
    chance: random.Random
    shapes: Shapes

    def one(self, items: Sequence[Item]) -> Item:
        """Any of these."""
        return self.chance.choice(items)

    def now_and_then(self, share: float) -> bool:
        """True for this share of the times."""
        return self.chance.random() < share

    def text(self) -> str:
        """Any text that is not blank."""
        return self.one(self.shapes.texts)

    def identity(self) -> UUID:
        """An id that nothing has."""
        return UUID(int=self.chance.getrandbits(128), version=4)

    def life(self, name: str) -> Life:
        """The present life of an agent mostly, else one that is over, or was never."""
        former = self.ledger.former.get(name)
        if self.now_and_then(0.1):
            return self.one(former) if former else self.identity()
        return self.ledger.lives.get(name)

    def roles(self) -> tuple[str, ...]:
        """A crew or two, or none."""
        return tuple(self.chance.sample(CREWS, self.chance.randint(0, 2)))

    def holder(self) -> str | None:
        """An agent that holds something."""
        holders = list(self.ledger.model.holds)
        return self.one(holders) if holders else None

    def handoff(self) -> UUID:
        """Any handoff: one of three held, now and then one that does not exist."""
        model = self.ledger.model
        if not model.handoffs or self.now_and_then(0.02):
            return self.identity()
        if model.holds and self.now_and_then(0.35):
            return self.one(list(model.holds.values()))
        return self.one(list(model.handoffs))

    def ended(self) -> UUID | None:
        """A handoff that is completed."""
        known = self.ledger.model.handoffs
        ended = [handoff for handoff in known if known[handoff].state in COMPLETED]
        return self.one(ended) if ended else None

    def claim(self) -> Claim:
        """A token: one that stands mostly, else one that is wrong in one way."""
        holder = self.holder()
        if holder is None or self.now_and_then(0.1):
            return self._claim_of_the_past()
        handoff = self.ledger.model.holds[holder]
        attempt = self.ledger.model.handoffs[handoff].attempt
        life = self.ledger.lives[holder]
        if self.now_and_then(0.75):
            return Claim(handoff, attempt, holder, life)
        name = self.one(NAMES)
        return self.one(
            [
                Claim(handoff, attempt - 1, holder, life),
                Claim(handoff, attempt + 1, holder, life),
                Claim(handoff, attempt, name, self.ledger.lives.get(name)),
                Claim(handoff, attempt, holder, self.life(holder)),
                Claim(handoff, attempt, holder, self.identity()),
                Claim(self.identity(), attempt, holder, life),
            ]
        )

    def _claim_of_the_past(self) -> Claim:
        """A token that has settled its attempt already, or one for any handoff."""
        if self.ledger.settled and self.now_and_then(0.7):
            claim, _ = self.one(list(self.ledger.settled.values()))
            another = replace(claim, life=self.one((self.identity(), self.life(claim.agent))))
            return self.one((claim, claim, another))
        handoff, name = self.handoff(), self.one(self._suspects() or (*NAMES, *STRANGERS))
        known = self.ledger.model.handoffs.get(handoff)
        former = self.ledger.former.get(name, [])
        life = self.one((self.ledger.lives.get(name), *former[-1:]))
        return Claim(handoff, known.attempt if known else 1, name, life)

    def _suspects(self) -> list[str]:
        """Agents of which one word would show that their body has ended."""
        agents = self.ledger.model.agents
        return [name for name in agents if agents[name] is AgentState.UNRESPONSIVE]
