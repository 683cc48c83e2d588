"""The one place where log lines are written, and from which everybody else reads events.

`configure` also routes the standard library's logging here, so that a line of asyncpg's pool or of
asyncio is one JSON object as well, under the event name `log.relayed`.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TextIO, TypeAlias

import structlog

from coordinator.core.events import Event, Level
from coordinator.core.transitions import Transition
from coordinator.telemetry.outbox import Outbox
from coordinator.telemetry.sink import LineSink
from coordinator.telemetry.wording import error_fields, json_processors, pretty_processors

LogFormat: TypeAlias = Literal["auto", "json", "pretty"]
Reader: TypeAlias = Callable[[Event], None]

_LAST_LINES_WITHIN = timedelta(seconds=1)
_NUMBERS = {
    Level.DEBUG: logging.DEBUG,
    Level.INFO: logging.INFO,
    Level.WARNING: logging.WARNING,
    Level.ERROR: logging.ERROR,
}
_PRIORITIES = {Level.DEBUG: 7, Level.INFO: 6, Level.WARNING: 4, Level.ERROR: 3}
"""As in syslog(3); the journal reads them as `<6>` before a line, and takes them off."""


def configure(
    *,
    format: LogFormat,
    level: Level,
    stream: TextIO,
    service_version: str,
    instance: str,
    service_name: str = "coordinator",
    log_content: bool = False,
    color: bool = True,
    priorities: bool = False,
) -> "Telemetry":
    """Begin to tell: log lines go to `stream`, the standard library's logging included.

    `auto` is pretty on a terminal and JSON elsewhere. `color` is for pretty lines on a terminal
    (the CLI passes False when NO_COLOR is set). `priorities` puts the level before each line in the
    way of the journal. `instance` tells this process from its like.
    """
    on_terminal = stream.isatty()
    pretty = format == "pretty" or (format == "auto" and on_terminal)
    telemetry = Telemetry(
        LineSink(stream),
        pretty_processors(color=color and on_terminal) if pretty else json_processors(),
        service={
            "service.name": service_name,
            "service.version": service_version,
            "service.instance.id": instance,
        },
        level=level,
        log_content=log_content,
        priorities=priorities,
    )
    telemetry.relay_standard_logging()
    return telemetry


class Telemetry:
    """Tells events: as a log line if loud enough, and to every subscriber in any case.

    Telling never waits for whoever reads the lines.
    """

    log_content: bool
    """Whether log lines carry what agents wrote: task text, context, results."""

    def __init__(
        self,
        sink: LineSink,
        processors: list[structlog.typing.Processor],
        *,
        service: dict[str, str],
        level: Level,
        log_content: bool = False,
        priorities: bool = False,
    ) -> None:
        self._priorities = priorities
        self._lines = _Lines(None, processors, {})
        self._service = service
        self._outbox = Outbox(sink, self._word_loss)
        self._readers: list[Reader] = []
        self._relay: _Relay | None = None
        self._level = level
        self.log_content = log_content

    @property
    def level(self) -> Level:
        """The quietest level that becomes a line; it may be set at any time."""
        return self._level

    @level.setter
    def level(self, level: Level) -> None:
        self._level = level
        if self._relay:
            logging.getLogger().setLevel(_NUMBERS[level])

    @property
    def unwritten(self) -> int:
        """How many lines could not be written so far; who must tell again, compares two looks."""
        return self._outbox.unwritten

    @property
    def lost(self) -> int:
        """How many lines nobody will read: those, and the ones dropped while nobody read."""
        return self._outbox.lost

    @property
    def stuck_for(self) -> timedelta:
        """How long lines have waited for a reader and none was written; zero if all is well."""
        return self._outbox.stuck_for

    async def flush(self, *, within: timedelta) -> bool:
        """Wait until the lines so far are written, or lost; False if that takes too long.

        A transition's line is never dropped for want of room: who tells many of them flushes.
        """
        return await self._outbox.flush(within=within)

    def emit(self, event: Event, *, error: BaseException | None = None) -> None:
        """Tell one event; `error` adds its type, the first line of its text, and its stack."""
        if self._is_loud_enough(event.level):
            fields = event.fields(content=self.log_content)
            if "error_type" in fields:
                fields["error.type"] = fields.pop("error_type")
            told = (error_fields(error) if error else {}) | fields
            self._write(event.level, event.name, told, needed=isinstance(event, Transition))
        for reader in tuple(self._readers):
            reader(event)

    def subscribe(self, reader: Reader) -> Callable[[], None]:
        """Call `reader` with every event from now on, whatever its level; return how to end it."""
        self._readers.append(reader)
        return lambda: self._readers.remove(reader)

    def relay_standard_logging(self) -> None:
        """Take over the root logger: what others log becomes lines of ours."""
        self._relay = _Relay(self._relayed)
        root = logging.getLogger()
        for handler in root.handlers[:]:
            if isinstance(handler, _Relay):
                root.removeHandler(handler)
        root.addHandler(self._relay)
        root.setLevel(_NUMBERS[self._level])

    def close(self) -> None:
        """Give the root logger back, and write what is left; a second is enough for that."""
        if self._relay:
            logging.getLogger().removeHandler(self._relay)
            logging.getLogger().setLevel(logging.WARNING)
            self._relay = None
        self._outbox.close(within=_LAST_LINES_WITHIN)

    def _relayed(self, record: logging.LogRecord) -> None:
        level = _level_of(record)
        if not self._is_loud_enough(level):
            return
        told: dict[str, object] = {"logger": record.name, "message": _message(record)}
        if record.exc_info and record.exc_info[1]:
            # The pool logs a whole traceback at each failed refill of a lost database.
            with_stack = record.name != "asyncpg.pool"
            told |= error_fields(record.exc_info[1], with_stack=with_stack)
        self._write(level, "log.relayed", told)

    def _is_loud_enough(self, level: Level) -> bool:
        return _NUMBERS[level] >= _NUMBERS[self._level]

    def _write(
        self, level: Level, name: str, told: dict[str, object], *, needed: bool = False
    ) -> None:
        self._outbox.put(self._worded(level, name, told), needed=needed)

    def _word_loss(self, lines: int) -> str:
        return self._worded(Level.WARNING, "log.dropped", {"lines": lines})

    def _worded(self, level: Level, name: str, told: dict[str, object]) -> str:
        line = self._lines.word(level, name, {"logger": "coordinator"} | self._service | told)
        if not self._priorities:
            return line
        mark = f"<{_PRIORITIES[level]}>"
        return mark + line.replace("\n", f"\n{mark}")


class _Lines(structlog.BoundLoggerBase):
    """structlog's chain of processors, with the level as a value instead of a method."""

    def word(self, level: Level, name: str, told: dict[str, object]) -> str:
        [line], _ = self._process_event(level.value, name, told)
        return str(line)


class _Relay(logging.Handler):
    """Hands the standard library's records over."""

    def __init__(self, take: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(record)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # the caller's arguments do not fit its own message
        return str(record.msg)


def _level_of(record: logging.LogRecord) -> Level:
    return next(
        (level for level in reversed(Level) if record.levelno >= _NUMBERS[level]), Level.DEBUG
    )
