"""Agents of the SDK, some with a connection each, some on one host: `… '<AgentOrders>'`.

They work on, whatever becomes of the database, until they are killed or other processes have taken
all their names.
"""

import random
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from uuid import uuid4

import anyio

from coordinator.agents import (
    Agent,
    AgentHost,
    GiveUp,
    HeldHandoff,
    LeaseLost,
    NewHandoff,
    RequestRefused,
    print_error,
)
from coordinator.core.errors import Refusal
from tests.faults.history import Recorder
from tests.faults.load.beginning import begin
from tests.faults.load.orders import AgentOrders
from tests.faults.load.task import EVERYBODY, Ending, Task, ending, roles_of

_RUNS_ON = 0.3
"""How often a body does not listen to a cancellation before its work is done."""
_REPORTS = 0.1
_HANDS_OFF = 0.05
_LONGEST_RETRY = 0.3
"""Seconds."""


class Trouble(Exception):
    """What a body raises when the dice say so."""


class Worker:
    """What one agent does with what it is given."""

    def __init__(self, orders: AgentOrders, agent: Agent, recorder: Recorder) -> None:
        self._agent = agent
        self._recorder = recorder
        self._chance = random.Random(f"{orders.seed} {agent.name}")

    async def serve(self) -> None:
        """Take up what there is, until another process takes the name."""
        try:
            async for handoff in self._agent.handoffs():
                await self._hold(handoff)
        except RequestRefused as refused:
            if refused.refusal is not Refusal.SUPERSEDED:
                raise

    async def _hold(self, handoff: HeldHandoff) -> None:
        token = {"handoff_id": handoff.id, "attempt": handoff.attempt}
        try:
            async with handoff:
                self._recorder.note("accepted", **token)
                try:
                    how = await self._work_on(handoff)
                except (LeaseLost, anyio.get_cancelled_exc_class()):
                    self._recorder.note("stopped", **token)
                    raise
                outcome = "succeeded" if how is Ending.DONE else "failed"
                self._recorder.note("finishing", **token, outcome=outcome)
                self._end(handoff, how)
        except LeaseLost:
            pass  # the verdict tells it, too
        if handoff.verdict is not None:
            self._recorder.note("finished", **token, verdict=handoff.verdict)

    async def _work_on(self, handoff: HeldHandoff) -> Ending:
        task = Task.model_validate(handoff.context)
        with anyio.CancelScope(shield=self._chance.random() < _RUNS_ON):
            await anyio.sleep(task.takes_s(self._chance))  # the work itself
        if self._chance.random() < _REPORTS:
            await handoff.report_progress("half way", percent=50)
        if handoff.row.hop == 0 and self._chance.random() < _HANDS_OFF:
            await self._hand_off_separately()
        return ending(task, handoff.attempt, self._chance)

    async def _hand_off_separately(self) -> None:
        key = f"beside-{uuid4()}"
        self._recorder.note("sending", key=key, to_agent=EVERYBODY)
        try:
            sent = await self._agent.hand_off(
                EVERYBODY, "beside the work", context=Task().model_dump(), idempotency_key=key
            )
        except RequestRefused as refused:
            self._recorder.note("refused", key=key, sqlstate=refused.code)
            if refused.refusal is not Refusal.SUPERSEDED:
                raise
            await anyio.sleep_forever()  # this life is over: the body is being stopped
        else:
            self._recorder.note("acknowledged", key=key, handoff_id=sent.id)

    def _end(self, handoff: HeldHandoff, how: Ending) -> None:
        match how:
            case Ending.DONE:
                handoff.succeed({"by": self._agent.name}, then=_rest_of(handoff))
            case Ending.FAIL:
                pause = timedelta(seconds=self._chance.uniform(0, _LONGEST_RETRY))
                handoff.fail("the dice said so", retry_in=pause)
            case Ending.RAISE:
                raise Trouble("the dice said so")
            case Ending.GIVE_UP:
                raise GiveUp("the dice said so")


def _rest_of(handoff: HeldHandoff) -> list[NewHandoff]:
    rest = Task.model_validate(handoff.context).rest
    if rest is None:
        return []
    return [
        NewHandoff(
            to_agent=EVERYBODY,
            task_description="the next step",
            context=rest.model_dump(),
            max_attempts=handoff.row.max_attempts,
        )
    ]


def _print_what_is_no_dice(handoff: HeldHandoff, error: Exception) -> None:
    if not isinstance(error, Trouble):
        print_error(handoff, error)


async def _with_a_connection_each(orders: AgentOrders, name: str, recorder: Recorder) -> None:
    async with Agent.connect(
        orders.dsn,
        name,
        roles=roles_of(name, orders.names),
        heartbeat_interval=timedelta(seconds=orders.heartbeat_s),
        on_error=_print_what_is_no_dice,
    ) as agent:
        await Worker(orders, agent, recorder).serve()


async def _on_one_host(orders: AgentOrders, recorders: dict[str, Recorder]) -> None:
    async def serve(name: str, recorder: Recorder) -> None:
        async with host.agent(
            name, roles=roles_of(name, orders.names), on_error=_print_what_is_no_dice
        ) as agent:
            await Worker(orders, agent, recorder).serve()

    async with (
        AgentHost.connect(
            orders.dsn, heartbeat_interval=timedelta(seconds=orders.heartbeat_s)
        ) as host,
        anyio.create_task_group() as agents,
    ):
        for name, recorder in recorders.items():
            agents.start_soon(serve, name, recorder)


async def main(orders: AgentOrders) -> None:
    """Run every second agent with a connection of its own, and the others on one host."""
    with ExitStack() as files:
        recorders = {
            name: files.enter_context(Recorder(orders.notes, name)) for name in orders.names
        }
        hosted = {name: recorders[name] for name in orders.names[1::2]}
        async with anyio.create_task_group() as agents:
            for name in orders.names[::2]:
                agents.start_soon(
                    begin, partial(_with_a_connection_each, orders, name, recorders[name])
                )
            if hosted:
                agents.start_soon(begin, partial(_on_one_host, orders, hosted))


if __name__ == "__main__":
    anyio.run(main, AgentOrders.given())
