"""The agent's side over a DSN: each call is one statement, which calls one function of the schema.

Those calls that a handoff costs share a statement where several agents make them at once. An
agent's role needs the right to these functions and to nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID

import anyio
from anyio.abc import TaskGroup
from pydantic import BaseModel

from coordinator.core.errors import RequestRefused, StoreUnavailable
from coordinator.core.model import (
    AgentRow,
    AgentState,
    CancelAnswer,
    Handoff,
    Heard,
    Json,
    Life,
    NewHandoff,
    Receipt,
    Token,
    Verdict,
    agent_channel,
)
from coordinator.core.views import AgentView, Step, WaitingHandoff
from coordinator.store.connection import Connection, Record
from coordinator.store.dsn import ConnectTarget, Host
from coordinator.store.grouped import LOCK_WITHIN, MOST_BYTES, GroupedCall
from coordinator.store.hearing import deaf, hears, is_pooled

Model = TypeVar("Model", bound=BaseModel)
_LOCK_WITHIN = timedelta(seconds=1)
"""The agents of a process wait in turn for one connection; what is locked is asked again later."""


class DatabaseCalls:
    """One connection's worth of calls; when the connection is lost, so is this.

    Every call raises StoreUnavailable when time must pass and RequestRefused when the rules forbid.
    """

    def __init__(self, connection: Connection, tasks: TaskGroup) -> None:
        self._connection = connection
        self._heard: set[str] = set()
        self.is_our_own = False
        """Whether no pooler lends this session to others, as far as is known."""
        self._tether_was_tried = False
        brief = {"lock_within": f"{LOCK_WITHIN // timedelta(milliseconds=1)}ms"}
        grouped = partial(GroupedCall, connection, tasks)
        self._holding = grouped("agent_held_many", most_bytes=MOST_BYTES)
        self._taking_up = grouped("agent_take_up_many", most_bytes=MOST_BYTES, **brief)
        self._completing = grouped("agent_complete_many", as_text=("result", "follow_ups"), **brief)
        self._failing = grouped("agent_fail_many", as_text=("result",), **brief)

    @classmethod
    async def open(
        cls,
        target: ConnectTarget,
        tasks: TaskGroup,
        *,
        application_name: str,
        answer_within: timedelta,
    ) -> Self:
        """Connect; raise StoreUnavailable or ConfigError. `tasks` outlasts the connection."""
        return cls(
            await Connection.open(
                target,
                application_name=application_name,
                answer_within=answer_within,
                lock_within=_LOCK_WITHIN,
            ),
            tasks,
        )

    async def prove_pushes(self) -> bool:
        """Hang up and raise ConfigError where pushes never arrive: behind some poolers.

        False where that could not be found out.
        """
        try:
            # Without a pooler there is nothing to prove, and no second connection to open for it.
            proven = not await is_pooled(self._connection) or await hears(self._connection)
        except StoreUnavailable:
            return False  # the pool may be full: nothing is proven, and nothing is refused
        except BaseException:
            self.hang_up()
            raise
        if not proven:
            self.hang_up()
            raise deaf(self._connection.target)
        return True

    @property
    def host(self) -> Host:
        """Where this connection leads."""
        return self._connection.target.hosts[0]

    @property
    def fell_silent(self) -> bool:
        """Whether we hung up because no answer came."""
        return self._connection.fell_silent

    @property
    def lost(self) -> anyio.Event:
        """Set once the connection has gone."""
        return self._connection.lost

    async def close(self) -> None:
        """Say goodbye to the server."""
        await self._connection.close()

    def hang_up(self) -> None:
        """Drop the connection without a word."""
        self._connection.hang_up()

    async def listen(self, hear: Mapping[str, Callable[[str], None]]) -> None:
        """Hear the payloads on the channels of these agents. Look once more after this returns."""
        for agent_name in hear.keys() - self._heard:
            await self._connection.listen(agent_channel(agent_name), hear[agent_name])
            self._heard.add(agent_name)

    async def _tether(self, incarnation: UUID) -> None:
        """Let it be seen at once when this process, the one life that calls here, has ended.

        Where that is not to be had, heartbeats tell, later.
        """
        if not self.is_our_own or self._tether_was_tried:
            return
        self._tether_was_tried = True
        with suppress(RequestRefused):
            await self._connection.run("agent_tether", incarnation=incarnation)

    async def register(
        self, life: Life, *, roles: Sequence[str], metadata: Json, away: bool = False
    ) -> AgentRow:
        """Register this life of an agent; what another life of it holds is taken back.

        With `away` it takes no work until it says that it is idle.
        """
        await self._tether(life.incarnation)
        who = {**_life(life), "roles": list(roles), "metadata": metadata}
        return await self._one(AgentRow, "agent_register_away" if away else "agent_register", **who)

    async def find_agent(self, agent_name: str) -> AgentRow | None:
        """Read an agent's row; None where nobody has this name."""
        return await self._maybe(AgentRow, "agent_find", agent_name=agent_name)

    async def beat(self, agent_names: Sequence[str], incarnation: UUID) -> list[Heard]:
        """Heartbeat for agents of one incarnation; who is not in the answer has been replaced."""
        await self._tether(incarnation)
        return await self._many(
            Heard, "agent_beat", agent_names=list(agent_names), incarnation=incarnation
        )

    async def set_status(
        self, life: Life, status: AgentState, *, reason: str | None, current_task: str | None
    ) -> AgentState:
        """Say what the agent does; return what now stands (idle stays working with a handoff)."""
        row = await self._row(
            "agent_set_status",
            **_life(life),
            status=status,
            reason=reason,
            current_task=current_task,
        )
        return AgentState(row["status"])

    async def leave(self, life: Life) -> None:
        """Say goodbye; what the agent holds is taken back."""
        await self._row("agent_leave", **_life(life))

    async def hand_off(self, life: Life, handoffs: Sequence[NewHandoff]) -> list[Receipt]:
        """Hand off, all or none, in this order."""
        if not handoffs:
            return []
        rows = await self._connection.run(
            "agent_hand_off",
            from_agent=life.agent_name,
            incarnation=life.incarnation,
            items=[handoff.as_item() for handoff in handoffs],
        )
        return [Receipt.model_validate(dict(row)) for row in rows]

    async def check_wait(self, life: Life, to_agent: str) -> None:
        """Raise RequestRefused (ZH010) where waiting for this address would never end."""
        await self._row("agent_check_wait", agent_name=life.agent_name, to_agent=to_agent)

    async def held(self, life: Life) -> Handoff | None:
        """Read what this life holds now."""
        rows = await self._holding.ask("agent_held", **_life(life))
        return Handoff.model_validate(rows[0]) if rows else None

    async def take_up(self, life: Life) -> Handoff | None:
        """Take up what this life holds now; None where it holds nothing."""
        rows = await self._taking_up.ask("agent_take_up", **_life(life))
        return Handoff.model_validate(rows[0]) if rows else None

    async def accept(self, life: Life, token: Token) -> Handoff:
        """Take up an attempt; accepting again changes nothing."""
        rows = await self._taking_up.ask("agent_accept", **_life(life), **_token(token))
        return Handoff.model_validate(rows[0])

    async def report_progress(
        self, life: Life, token: Token, *, note: str | None, detail: Json
    ) -> bool:
        """Record progress; return whether the work should be cancelled."""
        row = await self._row(
            "agent_report_progress", **_life(life), **_token(token), note=note, detail=detail
        )
        return bool(row["cancel_requested"])

    async def complete(
        self,
        life: Life,
        token: Token,
        *,
        result: Any,
        follow_ups: Sequence[NewHandoff],
        away: bool = False,
    ) -> Verdict:
        """Complete as succeeded, and hand on in the same transaction.

        With `away` the agent takes no work after it until it says that it is idle.
        """
        word = {
            **_life(life),
            **_token(token),
            "result": result,
            "follow_ups": [handoff.as_item() for handoff in follow_ups],
        }
        if away:
            return Verdict((await self._row("agent_complete_away", **word))["verdict"])
        [row] = await self._completing.ask("agent_complete", **word)
        return Verdict(row["verdict"])

    async def fail(
        self,
        life: Life,
        token: Token,
        *,
        error: str,
        retry: bool,
        retry_in: timedelta | None,
        result: Any,
        away: bool = False,
    ) -> Verdict:
        """Fail; with `retry`, again after a pause while attempts are left (None: the schema's).

        `away` is as in `complete`.
        """
        word = {
            **_life(life),
            **_token(token),
            "error": error,
            "retry": retry,
            "retry_in": retry_in,
            "result": result,
        }
        if away:
            return Verdict((await self._row("agent_fail_away", **word))["verdict"])
        [row] = await self._failing.ask("agent_fail", **word)
        return Verdict(row["verdict"])

    async def cancel(self, handoff_id: UUID, *, reason: str | None) -> CancelAnswer:
        """Ask that a handoff be cancelled."""
        row = await self._row("agent_cancel", handoff_id=handoff_id, reason=reason)
        return CancelAnswer(row["answer"])

    async def handoff(self, handoff_id: UUID) -> Handoff | None:
        """Read a handoff; None for an unknown id."""
        return await self._maybe(Handoff, "agent_handoff", handoff_id=handoff_id)

    async def colleagues(self, *, most: int) -> list[AgentView]:
        """List the agents by name; refused where the login may only call functions."""
        return await self._many(AgentView, "agent_colleagues", most=most)

    async def waiting(self, addresses: Sequence[str], *, most: int) -> list[WaitingHandoff]:
        """List what waits at these addresses; refused where the login may only call functions."""
        return await self._many(WaitingHandoff, "agent_inbox", addresses=list(addresses), most=most)

    async def trace(self, root_id: UUID, *, most: int) -> list[Step]:
        """List what came of a first handoff; refused where the login may only call functions."""
        return await self._many(Step, "agent_trace", root_id=root_id, most=most)

    async def _row(self, name: str, **parameters: object) -> Record:
        return (await self._connection.run(name, **parameters))[0]

    async def _one(self, model: type[Model], name: str, **parameters: object) -> Model:
        return model.model_validate(dict(await self._row(name, **parameters)))

    async def _many(self, model: type[Model], name: str, **parameters: object) -> list[Model]:
        rows = await self._connection.run(name, **parameters)
        return [model.model_validate(dict(row)) for row in rows]

    async def _maybe(self, model: type[Model], name: str, **parameters: object) -> Model | None:
        rows = await self._connection.run(name, **parameters)
        return model.model_validate(dict(rows[0])) if rows else None


def _life(life: Life) -> dict[str, object]:
    return {"agent_name": life.agent_name, "incarnation": life.incarnation}


def _token(token: Token) -> dict[str, object]:
    return {"handoff_id": token.handoff_id, "attempt": token.attempt}
