"""The place where a process's agents share one connection, one incarnation and one heartbeat.

After a reconnect the order matters: heartbeat first (with the same incarnation: registering again
would rob whoever has taken the name over), then LISTEN, then everybody looks at the tables. Only
an agent whose row has gone, as after a restore, is registered again.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Self
from uuid import uuid4

import anyio

from coordinator.agents.background import background
from coordinator.agents.bell import Bell
from coordinator.agents.calls import AgentCalls, Dial
from coordinator.agents.link import Link
from coordinator.agents.post import LAST_WORD_WITHIN, Post
from coordinator.core.errors import Refusal, RequestRefused, StoreUnavailable
from coordinator.core.model import Json, Life
from coordinator.store.agent_calls import DatabaseCalls
from coordinator.store.dsn import connect_target

HEARTBEAT_INTERVAL = timedelta(seconds=10)
_BETWEEN_DOUBTS_S = 0.1
_SHORTEST_ANSWER_LIMIT = timedelta(seconds=5)


class Station:
    """One connection, and the posts of the agents that share it."""

    def __init__(self, link: Link, *, heartbeat_interval: timedelta) -> None:
        self.incarnation = uuid4()
        self._link = link
        self._heartbeat_interval = heartbeat_interval
        self._posts: dict[str, Post] = {}
        self._doubt = Bell()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dsn: str, *, heartbeat_interval: timedelta, application_name: str
    ) -> AsyncIterator[Self]:
        """Connect to a database, and stay connected until the block ends.

        Raises StoreUnavailable or ConfigError when the first connection fails, or hears nothing.
        """
        target = connect_target(dsn)
        proven = False
        last: DatabaseCalls | None = None

        async def dial() -> DatabaseCalls:
            nonlocal last, proven, target
            if last is not None and last.fell_silent:
                target = target.beginning_after(last.host)
            calls = last = await DatabaseCalls.open(
                target,
                tasks,
                # A name that the database refuses must not break the connection before that.
                application_name="".join(filter(str.isprintable, application_name)),
                answer_within=max(heartbeat_interval, _SHORTEST_ANSWER_LIMIT),
            )
            proven = proven or await calls.prove_pushes()
            calls.is_our_own = proven
            return calls

        async with (
            background() as tasks,
            cls.over(dial, heartbeat_interval=heartbeat_interval) as station,
        ):
            yield station

    @classmethod
    @asynccontextmanager
    async def over(cls, dial: Dial, *, heartbeat_interval: timedelta) -> AsyncIterator[Self]:
        """Stand on whatever `dial` connects to."""
        link = await Link.open(dial)
        station = cls(link, heartbeat_interval=heartbeat_interval)
        try:
            async with background() as tasks:
                tasks.start_soon(link.keep, station._greet)
                tasks.start_soon(station._keep_beating)
                tasks.start_soon(station._keep_asking)
                yield station
        finally:
            await link.close()

    @asynccontextmanager
    async def post(
        self,
        agent_name: str,
        *,
        roles: Sequence[str],
        metadata: Json | None,
        away: bool = False,
    ) -> AsyncIterator[Post]:
        """Register an agent; at the end of the block it leaves, and its work is given back.

        With `away` it is given no work until it says that it is idle.

        Raises RequestRefused when the database does not take the name, the roles or the metadata,
        and ValueError when an agent of this name is here already.
        """
        if agent_name in self._posts:
            raise ValueError(f"an agent {agent_name} is in this process already")
        post = Post(
            Life(agent_name, self.incarnation),
            self._link,
            roles=tuple(roles),
            metadata=metadata or {},
            poll=self._heartbeat_interval,
            ask_soon=self._doubt.ring,
            away=away,
        )
        # Before anything is waited for: the name is taken, and no push for it is missed.
        self._posts[agent_name] = post
        try:
            await self._link.insist(partial(self._enrol, post))
            post.enrolled = True
            yield post
        finally:
            self._posts.pop(agent_name, None)
            await _leave(post)

    async def _enrol(self, post: Post, calls: AgentCalls) -> None:
        await calls.listen({post.life.agent_name: self._hearing(post.life.agent_name)})
        await _register(calls, post)

    def _hearing(self, agent_name: str) -> Callable[[str], None]:
        def hear(payload: str) -> None:
            if post := self._posts.get(agent_name):
                post.hear_push(payload)

        return hear

    async def _greet(self, calls: AgentCalls) -> None:
        await self._beat(calls)
        await calls.listen({name: self._hearing(name) for name in self._posts})
        for post in self._posts.values():
            post.look_again()

    async def _keep_beating(self) -> None:
        while True:
            await anyio.sleep(self._heartbeat_interval.total_seconds())
            calls = await self._link.calls()
            try:
                await self._beat(calls)
            except StoreUnavailable:
                # A connection that cannot carry a heartbeat is of no use; the link gets another.
                calls.hang_up()

    async def _keep_asking(self) -> None:
        """Ask about work that should stop, as pushes say; however many they are, not too often."""
        while True:
            await self._doubt.wait()
            calls = await self._link.calls()
            try:
                await self._beat(calls, only=lambda post: post.in_doubt)
            except StoreUnavailable:
                calls.hang_up()
            await anyio.sleep(_BETWEEN_DOUBTS_S)

    async def _beat(
        self, calls: AgentCalls, *, only: Callable[[Post], bool] = lambda _: True
    ) -> None:
        bodies = {
            name: post.body
            for name, post in self._posts.items()
            if post.enrolled and post.over is None and only(post)
        }
        for name in bodies:
            self._posts[name].in_doubt = False
        if not bodies:
            return
        heard = {row.agent_name: row for row in await calls.beat(sorted(bodies), self.incarnation)}
        for name, body_then in bodies.items():
            post = self._posts.get(name)
            if post is None:
                continue
            if name in heard:
                post.hear_beat(heard[name], body_then=body_then)
            else:
                await self._find_out(calls, post)

    async def _find_out(self, calls: AgentCalls, post: Post) -> None:
        row = await calls.find_agent(post.life.agent_name)
        if row is None:
            await _register(calls, post)
            post.look_again()
        elif row.incarnation != self.incarnation:
            post.end(superseded(post.life.agent_name))


def superseded(agent_name: str) -> RequestRefused:
    """Say that this life is over, as the database would."""
    return RequestRefused(
        Refusal.SUPERSEDED,
        f"another process has registered as agent {agent_name}",
        None,
        "Stop this one, or give it a name of its own. It does not register again: the two would"
        " rob each other",
    )


async def _register(calls: AgentCalls, post: Post) -> None:
    await calls.register(post.life, roles=post.roles, metadata=post.metadata, away=post.away)


async def _leave(post: Post) -> None:
    if post.over is not None:
        return
    # A life that is over, or an agent that is gone, has nothing to give back.
    with (
        anyio.move_on_after(LAST_WORD_WITHIN.total_seconds(), shield=True),
        suppress(RequestRefused),
    ):
        await post.ask(lambda calls: calls.leave(post.life))
