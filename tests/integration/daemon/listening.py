"""What an agent hears on its channel."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from tests.integration.schema.world import World

Pushes = AsyncIterator[dict[str, object]]


@asynccontextmanager
async def heard_by(world: World, name: str) -> AsyncIterator[Pushes]:
    """Listen on an agent's channel; what arrives can be awaited one by one."""
    send, receive = anyio.create_memory_object_stream[dict[str, object]](100)

    def hear(_: object, __: int, ___: str, payload: object) -> None:
        send.send_nowait(json.loads(str(payload)))

    channel = await world.value("select agent_channel($1)", name)
    with send, receive:
        await world.connection.add_listener(channel, hear)
        yield receive
        await world.connection.remove_listener(channel, hear)


async def pushed(pushes: Pushes, count: int) -> list[object]:
    """The kinds of the next events that are pushed, as soon as there are so many."""
    return [(await anext(pushes))["event"] for _ in range(count)]
