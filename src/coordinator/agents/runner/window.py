"""The window: a private socket through which a command's tools speak as the runner's agent.

An MCP server inside the command finds it by COORDINATOR_SOCKET, and needs no way to the database.
Whoever speaks is the runner's agent, in the runner's life: a life that is sent along is not read.
The registration, the heartbeats and the agent's state stay the runner's. After a settlement the
agent gets no work until the command has ended, and the runner says so.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from coordinator.agents import wire
from coordinator.agents.agent import Agent
from coordinator.agents.background import background
from coordinator.agents.calls import AgentCalls
from coordinator.core.errors import CoordinatorError, RequestRefused, StoreUnavailable
from coordinator.core.model import AgentState, Json, Life, NewHandoff, Outcome, Token, Verdict

_MOST_CONNECTIONS = 16
_NOT_NOW = "55000"
"""SQLSTATE: the object is not in the state that this needs."""
_OUTCOMES = {"complete": Outcome.SUCCEEDED, "fail": Outcome.FAILED}


class Window:
    """What the tools of one attempt's command may do, and have done."""

    def __init__(self, agent: Agent, token: Token) -> None:
        self.settled: tuple[Outcome, Verdict] | None = None
        """How the attempt was settled through here, and the answer to that."""
        self.worktree: Json | None = None
        """Where the command works, which a completion through here names beside its result."""
        self._agent = agent
        self._token = token

    @asynccontextmanager
    async def opened(self, socket: Path) -> AsyncIterator[None]:
        """Answer calls on this socket until the block ends; raise OSError where that cannot be."""
        room = anyio.CapacityLimiter(_MOST_CONNECTIONS)

        async def serve(stream: SocketStream) -> None:
            async with stream, room:
                await self._serve(stream)

        listener = await anyio.create_unix_listener(socket, mode=0o600)
        async with listener, background() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield

    async def _serve(self, stream: SocketStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        try:
            while True:
                try:
                    call, given = wire.read_call(await wire.receive(lines))
                    answer = await self._agent.ask(partial(self._answer, call=call, given=given))
                    said = wire.line(wire.written_answer(call, answer))
                except CoordinatorError as error:
                    said = wire.line(wire.written_error(error))
                await stream.send(said)
        except (
            anyio.EndOfStream,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
            wire.Garbled,
        ):
            return  # it has gone, or talks nonsense

    async def _answer(
        self, calls: AgentCalls, life: Life, *, call: str, given: dict[str, Any]
    ) -> Any:
        """Make a call as the runner's agent, as far as it is the command's to make."""
        if "life" in given:
            given = {**given, "life": life}
        match call:
            case "register":
                return await _own_row(calls, life)
            case "leave":
                return None
            case "beat":
                return await calls.beat([life.agent_name], life.incarnation)
            case "set_status":
                return _own_word(given["status"])
            case "hand_off":
                given["handoffs"] = [self._as_follow_up(each) for each in given["handoffs"]]
            case "complete" | "fail":
                return await self._settle(calls, call, {**given, "away": True})
        return await getattr(calls, call)(**given)

    async def _settle(self, calls: AgentCalls, call: str, given: dict[str, Any]) -> Verdict:
        is_ours = given["token"] == self._token
        if is_ours and call == "complete" and self.worktree is not None:
            given["result"] = {"result": given["result"], "worktree": self.worktree}
        verdict: Verdict = await getattr(calls, call)(**given)
        if is_ours and verdict is not Verdict.STALE:
            self.settled = (_OUTCOMES[call], verdict)
        return verdict

    def _as_follow_up(self, handoff: NewHandoff) -> NewHandoff:
        # Also after the settlement, when the database would see no parent: the session is there for
        # this handoff alone, and a chain without parents has no end.
        parent = handoff.parent_id or self._token.handoff_id
        return handoff.model_copy(update={"parent_id": parent})


def _own_word(state: AgentState) -> AgentState:
    if state is AgentState.WORKING:
        return state
    raise RequestRefused(
        _NOT_NOW,
        "the runner that started this session says what its agent does",
        "a session is started for one handoff, and gets no other",
        "Once you have settled it, end your turn: the runner starts the next session.",
    )


async def _own_row(calls: AgentCalls, life: Life) -> Any:
    row = await calls.find_agent(life.agent_name)
    if row is None:
        raise StoreUnavailable("the runner's agent is not registered at this moment")
    return row
