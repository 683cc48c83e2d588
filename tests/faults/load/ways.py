"""The ways to hand off: plain SQL, the function, and the SDK. Each repeats until it is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from coordinator.agents import Agent
from tests.faults.load.errands import Errand, Flaw
from tests.faults.load.line import Line
from tests.support.postgres import Connection

_INSERT = """
    insert into handoffs (id, from_agent, to_agent, task_description, context, priority,
      available_at, deadline_at, timeout, max_attempts, parent_id, idempotency_key)
    values ($1, $2, $3, $4, $5, $6, now() + $7::interval, now() + $8::interval, $9, $10, $11, $12)
    on conflict (id) do nothing
"""
_HAND_OFF = """
    select handoff_id
    from hand_off(from_agent => $1, to_agent => $2, task_description => $3, context => $4,
      priority => $5, available_at => now() + $6::interval, deadline_at => now() + $7::interval,
      timeout => $8, max_attempts => $9, parent_id => $10, idempotency_key => $11)
"""
_REFUSALS: Mapping[Flaw, str] = {
    Flaw.BLANK_TASK: "23514",
    Flaw.NO_ATTEMPTS: "23514",
    Flaw.UNKNOWN_PARENT: "ZH008",
    Flaw.USED_KEY: "ZH009",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """An errand on its way, with what makes it one handoff however often it is sent."""

    errand: Errand
    handoff_id: UUID
    """For ways that let the client choose it."""
    idempotency_key: str


class Way(Protocol):
    """One way to hand off."""

    @property
    def chooses_id(self) -> bool:
        """Whether the handoff gets the letter's id."""
        ...

    def refusal(self, flaw: Flaw) -> str:
        """Return the SQLSTATE that refuses this flaw."""
        ...

    async def send(self, letter: Letter) -> UUID:
        """Hand off until there is an answer: the handoff's id. Raises RequestRefused."""
        ...


@dataclass(frozen=True, slots=True)
class PlainWay:
    """An insert into the table, with an id that the client has chosen."""

    from_agent: str
    line: Line
    chooses_id: bool = True

    def refusal(self, flaw: Flaw) -> str:
        """See `Way`."""
        # A key that exists is found by its index, whatever the content.
        return "23505" if flaw is Flaw.USED_KEY else _REFUSALS[flaw]

    async def send(self, letter: Letter) -> UUID:
        """See `Way`."""
        errand = letter.errand

        async def insert(connection: Connection) -> None:
            await connection.execute(
                _INSERT,
                letter.handoff_id,
                self.from_agent,
                errand.to_agent,
                errand.task_description,
                errand.task.model_dump_json(),
                errand.priority,
                errand.delay,
                errand.deadline,
                errand.timeout,
                errand.max_attempts,
                errand.parent_id,
                letter.idempotency_key,
            )

        await self.line.ask(insert)
        return letter.handoff_id


@dataclass(frozen=True, slots=True)
class FunctionWay:
    """The function `hand_off`, as any language calls it."""

    from_agent: str
    line: Line
    chooses_id: bool = False

    def refusal(self, flaw: Flaw) -> str:
        """See `Way`."""
        return _REFUSALS[flaw]

    async def send(self, letter: Letter) -> UUID:
        """See `Way`."""
        errand = letter.errand

        async def hand_off(connection: Connection) -> UUID:
            handoff_id: UUID = await connection.fetchval(
                _HAND_OFF,
                self.from_agent,
                errand.to_agent,
                errand.task_description,
                errand.task.model_dump_json(),
                errand.priority,
                errand.delay,
                errand.deadline,
                errand.timeout,
                errand.max_attempts,
                errand.parent_id,
                letter.idempotency_key,
            )
            return handoff_id

        return await self.line.ask(hand_off)


@dataclass(frozen=True, slots=True)
class SdkWay:
    """An agent of the SDK that only hands off; the SDK does the repeating."""

    agent: Agent
    chooses_id: bool = False

    def refusal(self, flaw: Flaw) -> str:
        """See `Way`."""
        return _REFUSALS[flaw]

    async def send(self, letter: Letter) -> UUID:
        """See `Way`."""
        errand = letter.errand
        sent = await self.agent.hand_off(
            errand.to_agent,
            errand.task_description,
            context=errand.task.model_dump(),
            priority=errand.priority,
            delay=errand.delay,
            deadline=errand.deadline,
            timeout=errand.timeout,
            max_attempts=errand.max_attempts,
            idempotency_key=letter.idempotency_key,
            parent=errand.parent_id,
        )
        return sent.id
