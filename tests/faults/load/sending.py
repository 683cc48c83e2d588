"""Handing off at a rate, each sender in a way of its own, until the desk closes."""

import random
import signal
import warnings
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
from anyio.abc import TaskGroup

from coordinator.agents import Agent, RequestRefused, UnknownAddress
from tests.faults.history import Recorder
from tests.faults.load.beginning import begin
from tests.faults.load.errands import Errand, Flaw, Mix
from tests.faults.load.line import Line
from tests.faults.load.orders import SenderOrders
from tests.faults.load.ways import FunctionWay, Letter, PlainWay, SdkWay, Way

_LONGEST_ARREARS_S = 1.0
"""What was not sent while nothing could be sent is not made up for, beyond this."""
_WAYS = 3
_CANCEL = "select cancel_handoff($1, 'no longer needed')"


@dataclass(slots=True)
class Desk:
    """What the senders of one process share."""

    orders: SenderOrders
    cancelling: Line
    closing: anyio.Event = field(default_factory=anyio.Event)

    async def closes_within(self, seconds: float) -> bool:
        """Wait so long, and say whether sending is to end."""
        with anyio.move_on_after(seconds):
            await self.closing.wait()
        return self.closing.is_set()


class Sender:
    """One sender."""

    def __init__(self, desk: Desk, way: Way, recorder: Recorder, chance: random.Random) -> None:
        self._desk = desk
        self._way = way
        self._recorder = recorder
        self._chance = chance
        self._mix = Mix(chance, desk.orders.to)
        self._last_key: str | None = None

    async def send_on(self, gap_s: float) -> None:
        """Hand off again and again, with this pause on average, until the desk closes."""
        due = anyio.current_time()
        async with anyio.create_task_group() as cancelling:
            while True:
                due = max(
                    due + self._chance.uniform(0, 2 * gap_s),
                    anyio.current_time() - _LONGEST_ARREARS_S,
                )
                if await self._desk.closes_within(due - anyio.current_time()):
                    return
                await self._send(self._mix.draw(), cancelling)

    async def _send(self, errand: Errand, cancelling: TaskGroup) -> None:
        # No key is drawn by dice: another life of this process throws the same.
        letter = Letter(errand, uuid4(), str(uuid4()))
        named: dict[str, Any] = {"key": letter.idempotency_key}
        if errand.flaw is Flaw.USED_KEY:
            if self._last_key is None:
                return
            letter = replace(letter, idempotency_key=self._last_key)
        if self._way.chooses_id:
            named["handoff_id"] = letter.handoff_id
        self._recorder.note("sending", **named, to_agent=errand.to_agent, priority=errand.priority)
        try:
            handoff_id = await self._way.send(letter)
        except RequestRefused as refused:
            self._recorder.note("refused", **named, sqlstate=refused.code)
            if errand.flaw is None or refused.code != self._way.refusal(errand.flaw):
                raise  # the load is wrong, or the schema
            return
        self._recorder.note("acknowledged", key=named["key"], handoff_id=handoff_id)
        assert errand.flaw is None, f"{errand} was taken"
        self._last_key = letter.idempotency_key
        if errand.cancel_after_s is not None:
            cancelling.start_soon(self._cancel, handoff_id, errand.cancel_after_s)

    async def _cancel(self, handoff_id: UUID, after_s: float) -> None:
        if await self._desk.closes_within(after_s):
            return
        self._recorder.note("cancelling", handoff_id=handoff_id)
        answer = await self._desk.cancelling.ask(
            lambda connection: connection.fetchval(_CANCEL, handoff_id)
        )
        self._recorder.note("cancel_answered", handoff_id=handoff_id, verdict=answer)


async def main(orders: SenderOrders) -> None:
    """Run a sender for each way, until SIGTERM."""
    warnings.simplefilter("ignore", UnknownAddress)  # agents come and go
    async with anyio.create_task_group() as senders:
        desk = Desk(orders, _line(orders, f"{orders.name}-cancelling"))
        for send in (_send_by_plain_sql, _send_by_function, _send_by_sdk):
            senders.start_soon(send, desk)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                desk.closing.set()
                break


async def _send_by_plain_sql(desk: Desk) -> None:
    name = f"{desk.orders.name}-plain"
    await _send(desk, PlainWay(name, _line(desk.orders, name)), name)


async def _send_by_function(desk: Desk) -> None:
    name = f"{desk.orders.name}-function"
    await _send(desk, FunctionWay(name, _line(desk.orders, name)), name)


async def _send_by_sdk(desk: Desk) -> None:
    name = f"{desk.orders.name}-sdk"

    async def client() -> None:
        async with Agent.connect(
            desk.orders.dsn, name, heartbeat_interval=timedelta(seconds=desk.orders.heartbeat_s)
        ) as agent:
            await _send(desk, SdkWay(agent), name)

    await begin(client)


async def _send(desk: Desk, way: Way, name: str) -> None:
    with Recorder(desk.orders.notes, name) as recorder:
        sender = Sender(desk, way, recorder, random.Random(f"{desk.orders.seed} {name}"))
        await sender.send_on(gap_s=_WAYS / desk.orders.rate)


def _line(orders: SenderOrders, name: str) -> Line:
    return Line(orders.dsn, name, random.Random(f"{orders.seed} line of {name}"))
