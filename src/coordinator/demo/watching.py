"""Seeing what happens, in `coordination_events` alone: whatever the agents and the daemon print."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import anyio

from coordinator.core.errors import CoordinatorError
from coordinator.core.transitions import Transition
from coordinator.operate.events import EventReader
from coordinator.store.connection import Connection
from coordinator.store.operator_calls import EventFilter

_LOOK_EVERY = timedelta(milliseconds=50)
"""Progress rings no doorbell, so there is nothing to wait for but time."""
_PATIENCE = timedelta(seconds=60)


class ShowFailed(CoordinatorError):
    """The demo did not show what it promises."""


class Watch:
    """All transitions since the watch began, in order."""

    def __init__(self, connection: Connection, reader: EventReader) -> None:
        self._connection = connection
        self._reader = reader
        self.events: list[Transition] = []

    @classmethod
    async def begin(cls, connection: Connection) -> "Watch":
        """Begin with what happens from now on."""
        reader = EventReader(EventFilter())
        async for _ in reader.past(connection, since=None, newest=0):
            pass
        return cls(connection, reader)

    async def until(self, what: str, happened: Callable[[], bool]) -> None:
        """Read on until it has happened; raise ShowFailed, naming `what`, if it never does."""
        with suppress(TimeoutError), anyio.fail_after(_PATIENCE.total_seconds()):
            while True:
                async for event in self._reader.news(self._connection):
                    self.events.append(event)
                if happened():
                    return
                await anyio.sleep(_LOOK_EVERY.total_seconds())
        raise ShowFailed(f"not seen within {_PATIENCE.total_seconds():g} s: {what}")

    async def first(self, event: str, **fields: object) -> Transition:
        """Wait for an event with these fields, whose names are those of its columns and details."""
        wanted = {key: str(value) for key, value in fields.items()}.items()

        def seen() -> list[Transition]:
            return [one for one in self.events if one.event == event and wanted <= _told(one)]

        said = ", ".join(f"{key} {value}" for key, value in wanted)
        await self.until(f"{event} with {said}", lambda: bool(seen()))
        return seen()[0]


def chain(events: Iterable[Transition], root_id: UUID) -> list[Transition]:
    """The events of the handoffs that began with `root_id`."""
    return [event for event in events if event.detail.get("root_id") == str(root_id)]


def _told(event: Transition) -> set[tuple[str, str]]:
    return {(key, str(value)) for key, value in event.fields(content=False).items()}
