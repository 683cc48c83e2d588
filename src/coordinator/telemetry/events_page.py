"""`docs/events.md`, made from the event types: `python -m coordinator.telemetry.events_page`."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import get_type_hints

from coordinator.core.events import DAEMON_EVENTS, DaemonEvent
from coordinator.core.transitions import SAFE_DETAILS, TRANSITION_FIELDS, TRANSITIONS

_HEAD = """\
# Events

<!-- Made by `python -m coordinator.telemetry.events_page`; do not edit. -->

Every log line is one event with a stable name and stable fields. Off a terminal it is one JSON
object a line:

| Key | Meaning |
|---|---|
| `timestamp` | when the line was written, RFC 3339 in UTC |
| `level` | `debug`, `info`, `warning` or `error` |
| `event` | the name, one of those below |
| `logger` | `coordinator`, or the logger of a relayed line |
| `service.name`, `service.version`, `service.instance.id` | who writes |
| `error.type`, `error.message`, `exception.stacktrace` | only with an error, and without \
PostgreSQL's DETAIL, which may quote a row |

Fields that end in `_s` are seconds; fields that are unknown are absent. Levels: debug, a pass;
info, a change that someone may ask about; warning, something was healed; error, a human is needed.

Task text, context, results and errors that agents report are in no line unless `log_content` is on;
then `detail` holds the whole detail of a transition. Passwords in DSNs are always hidden.
"""

_TRANSITIONS_HEAD = """\
## Transitions

What happened to handoffs and agents, whoever caused it, read from the table `coordination_events`.
Each is told at least once: after a crash the last few lines may come again, with the same
`event_number`. A name that is not listed comes from a newer schema, and is told at level info.
"""

_OWN_LINES = """\
## From logging itself

| Event | Meaning | Fields |
|---|---|---|
| `log.relayed` | A library logged something. | `logger`, `message` |
| `log.dropped` | So many lines are missing here: they could not be written, or too many waited \
for a reader. Transitions among them come again. | `lines` |
"""

_TYPE_WORDS: Mapping[object, str] = {
    int: "integer",
    float: "number",
    str: "text",
    datetime: "time",
    tuple[str, ...]: "list of text",
}


def page() -> str:
    """Return the whole reference page."""
    parts = [
        _HEAD,
        _TRANSITIONS_HEAD,
        _table(("Event", "Level", "Meaning"), _transition_rows()),
        "Their fields:\n",
        _table(("Field", "Meaning"), _field_rows(TRANSITION_FIELDS)),
        "Where they apply, also these parts of the transition's detail:\n",
        _table(("Field", "Meaning"), _field_rows(SAFE_DETAILS)),
        "## The daemon's own\n",
        _table(("Event", "Level", "Meaning", "Fields"), map(_daemon_row, DAEMON_EVENTS)),
        _OWN_LINES,
    ]
    return "\n".join(parts)


def _transition_rows() -> Iterator[tuple[str, ...]]:
    for name, kind in TRANSITIONS.items():
        yield f"`{name}`", kind.level.value, kind.meaning


def _field_rows(fields: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for name, meaning in fields.items():
        yield f"`{name}`", meaning


def _daemon_row(event: type[DaemonEvent]) -> tuple[str, ...]:
    hints = get_type_hints(event, include_extras=True)
    fields = [
        f"`{_key(name)}`: {hint.__metadata__[0]} ({_type_word(hint.__origin__)})"
        for name, hint in hints.items()
        if hasattr(hint, "__metadata__")
    ]
    meaning = (event.__doc__ or "").splitlines()[0]
    return f"`{event.name}`", event.level.value, meaning, "<br>".join(fields)


def _key(name: str) -> str:
    return "error.type" if name == "error_type" else name


def _type_word(origin: object) -> str:
    for kind, word in _TYPE_WORDS.items():
        if origin in (kind, kind | None):  # type: ignore[operator]
            return word
    raise TypeError(f"the page has no word for {origin}")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(map(_line, [head, ("---",) * len(head), *rows]))


def _line(cells: tuple[str, ...]) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|\n"


if __name__ == "__main__":
    sys.stdout.write(page())
