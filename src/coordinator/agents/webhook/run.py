"""All of it as one process, from registration to the end by a signal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio

from coordinator.agents.background import background
from coordinator.agents.post import LAST_WORD_WITHIN, Post
from coordinator.agents.station import Station
from coordinator.agents.stopping import Stopping
from coordinator.agents.webhook.addresses import Reach
from coordinator.agents.webhook.courier import Answered, Courier
from coordinator.agents.webhook.delivery import Delivery
from coordinator.agents.webhook.news import News
from coordinator.agents.webhook.signing import Signer
from coordinator.agents.webhook.standing import Standing
from coordinator.agents.webhook.target import Target
from coordinator.agents.webhook.wire import Wire

_LOOK_EVERY_S = 0.25
"""While stopping: what the receiver settles now is pushed to nobody."""


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Which agent it is, and where its work is done."""

    dsn: str = field(repr=False)
    name: str
    target: Target
    signer: Signer
    roles: Sequence[str] = ()
    reach: Reach = field(default_factory=Reach)
    ca_file: Path | None = None
    timeout: timedelta = timedelta(seconds=10)
    """Of one request."""
    deliver_within: timedelta = timedelta(seconds=20)
    """A handoff that nobody took in this time is given back."""
    probe_every: timedelta = timedelta(minutes=1)
    """The longest pause between two pings of an endpoint that is down."""
    grace: timedelta = timedelta(seconds=10)
    """How long a signal waits for the receiver to settle."""
    heartbeat_interval: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Voices:
    """Who is told of what."""

    ready: Callable[[], None]
    answered: Callable[[Answered], None]
    endpoint: Callable[[str | None], None]
    """Why the endpoint is not there; None once it is."""
    lost: Callable[[str], None]


async def run_webhook(options: WebhookOptions, voices: Voices) -> None:
    """Be an agent behind a URL, until a signal asks to stop.

    Raises ConfigError or StoreUnavailable when the first connection to the database fails, and
    RequestRefused for what the database refuses and once another process has the agent's name.
    """
    wire = Wire(options.target, options.reach, ca_file=options.ca_file)
    delivery = Delivery(wire, options.signer, limit=options.timeout)
    stopping = Stopping()
    async with background() as tasks:
        await tasks.start(stopping.hear)
        async with (
            Station.open(
                options.dsn,
                heartbeat_interval=options.heartbeat_interval,
                application_name=f"webhook {options.name}",
            ) as station,
            station.post(
                options.name,
                roles=options.roles,
                metadata={"webhook": options.target.origin},
                away=True,
            ) as post,
        ):
            voices.ready()
            await _serve(post, delivery, stopping, options, voices)


async def _serve(
    post: Post, delivery: Delivery, stopping: Stopping, options: WebhookOptions, voices: Voices
) -> None:
    standing = Standing(post, delivery, probe_every=options.probe_every, tell=voices.endpoint)
    news = News(post, delivery, standing, longest_pause=options.probe_every, tell=voices.lost)
    courier = Courier(
        post, delivery, standing, deliver_within=options.deliver_within, tell=voices.answered
    )
    post.heard, post.overheard = standing.hear, news.hear
    async with background() as tasks:
        tasks.start_soon(standing.keep)
        tasks.start_soon(news.spread)
        with anyio.CancelScope() as patience:
            tasks.start_soon(partial(_heed, stopping, courier, standing, post, options, patience))
            await courier.serve()
        await courier.give_back()


async def _heed(
    stopping: Stopping,
    courier: Courier,
    standing: Standing,
    post: Post,
    options: WebhookOptions,
    patience: anyio.CancelScope,
) -> None:
    await stopping.asked.wait()
    courier.stop()
    with anyio.move_on_after(LAST_WORD_WITHIN.total_seconds()):
        # Once this one is settled the agent would get another, and give it back.
        await standing.end("its webhook is stopping")
    with anyio.move_on_after(options.grace.total_seconds()):
        async with background() as tasks:
            tasks.start_soon(_keep_looking, post)
            await _first_of(stopping.in_a_hurry, courier.at_rest)
    patience.cancel()


async def _keep_looking(post: Post) -> None:
    while True:
        post.bell.ring()
        await anyio.sleep(_LOOK_EVERY_S)


async def _first_of(*events: anyio.Event) -> None:
    async with anyio.create_task_group() as tasks:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for event in events:
            tasks.start_soon(wait, event)
