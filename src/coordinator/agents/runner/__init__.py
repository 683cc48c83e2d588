"""The command runner: `coordinator agent run`."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from coordinator.agents.agent import Agent, print_error
from coordinator.agents.background import background
from coordinator.agents.held import HeldHandoff
from coordinator.agents.runner.attempt import Orders
from coordinator.agents.runner.runner import Answered, Runner
from coordinator.agents.stopping import Stopping
from coordinator.core.errors import RequestRefused

__all__ = ["Answered", "Orders", "run_agent"]


async def run_agent(
    dsn: str,
    name: str,
    orders: Orders,
    *,
    roles: Sequence[str],
    heartbeat_interval: timedelta,
    once: bool,
    ready: Callable[[], None],
    tell: Callable[[Answered], None],
) -> None:
    """Be an agent whose work is done by a command, until a signal asks to stop.

    `ready` is called once it is registered, `tell` after each attempt. Raises what `Agent.connect`
    and `Runner.run` raise.
    """
    stopping = Stopping()
    errors: dict[UUID, Exception] = {}

    def hear_error(handoff: HeldHandoff, error: Exception) -> None:
        errors[handoff.id] = error
        if not isinstance(error, RequestRefused):
            print_error(handoff, error)

    async with background() as tasks:
        await tasks.start(stopping.hear)
        async with Agent.connect(
            dsn,
            name,
            roles=roles,
            metadata={"runner": orders.profile.name, "command": orders.program},
            heartbeat_interval=heartbeat_interval,
            on_error=hear_error,
        ) as agent:
            ready()
            runner = Runner(agent, orders, stopping, errors=errors, tell=tell)
            await runner.run(once=once)
