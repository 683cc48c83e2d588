"""Who hears of a change: subscribers of both protocols, told of what was pushed to the agent.

Since 2026-07-28 a client opens a stream with `subscriptions/listen`, which the SDK serves from a
bus; before, it called `resources/subscribe`, and is told on its connection. What is told is only
that a resource has changed. It wakes no model: clients do with it what they like.
"""

from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated

from coordinator.core.model import Push

INBOX = "coordinator://inbox"
AGENTS = "coordinator://agents"
HANDOFF = "coordinator://handoffs/{handoff_id}"
TRACE = "coordinator://handoffs/{handoff_id}/trace"
_MOST_SUBSCRIPTIONS = 1000
_MOST_WAITING = 1000

Connection = str | None
"""Which connection a subscriber has: its HTTP session; None on stdio, which is one connection."""


class News:
    """Tells subscribers what has changed."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._subscribers: dict[tuple[Connection, str], ServerSession] = {}
        self._send, self._receive = anyio.create_memory_object_stream[str](_MOST_WAITING)

    def hear(self, push: Push) -> None:
        """Take what was pushed to the agent."""
        for uri in (INBOX, uri_of(HANDOFF, push.handoff_id), uri_of(TRACE, push.handoff_id)):
            with suppress(anyio.WouldBlock):  # whoever does not read hears less
                self._send.send_nowait(uri)

    async def spread(self) -> None:
        """Tell of what was heard, for ever."""
        async for uri in self._receive:
            await self.bus.publish(ResourceUpdated(uri=uri))
            for key, session in list(self._subscribers_of(uri)):
                try:
                    await session.send_resource_updated(uri)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    self._subscribers.pop(key, None)

    async def subscribe(
        self, ctx: ServerRequestContext, params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """Note a subscriber of the older protocol."""
        while len(self._subscribers) >= _MOST_SUBSCRIPTIONS:
            self._subscribers.pop(next(iter(self._subscribers)))  # the oldest, likely gone by now
        self._subscribers[_connection(ctx), str(params.uri)] = ctx.session
        return types.EmptyResult()

    async def unsubscribe(
        self, ctx: ServerRequestContext, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """Forget a subscriber."""
        self._subscribers.pop((_connection(ctx), str(params.uri)), None)
        return types.EmptyResult()

    def _subscribers_of(self, uri: str) -> Iterator[tuple[tuple[Connection, str], ServerSession]]:
        return (each for each in self._subscribers.items() if each[0][1] == uri)


def uri_of(template: str, handoff_id: UUID) -> str:
    """Fill in a template."""
    return template.replace("{handoff_id}", str(handoff_id))


def _connection(ctx: ServerRequestContext) -> Connection:
    headers = getattr(ctx.request, "headers", {})
    session_id: str | None = headers.get("mcp-session-id")
    return session_id
