"""A clean history that is about to be spoiled: find a place in it, and change what lies there."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from tests.faults.checking.lives import TAKES_BACK
from tests.faults.checking.record import Event, History, Row
from tests.faults.history import Note, Saw

STRANGER = "zoe"
"""An agent that has done nothing else."""


class Forgery:
    """The parts of a history, to be changed."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.notes = list(history.notes)
        self.events = list(history.events)
        self.rows = {row.id: row for row in history.rows}
        self.log = [list(reign) for reign in history.log]
        self.server_ahead = history.server_ahead
        self.locked = history.locked
        self._numbers = [event.sequence for event in history.events]
        self._unused = count(-1, -1)

    def history(self) -> History:
        """The spoiled history; events that were put in or moved are numbered anew, and logged."""
        if [event.sequence for event in self.events] != self._numbers:
            self.events = [
                replace(event, sequence=nth) for nth, event in enumerate(self.events, start=1)
            ]
            self.log = [[event.sequence for event in self.events]]
        return replace(
            self._history,
            notes=self.notes,
            events=self.events,
            rows=list(self.rows.values()),
            log=self.log,
        )

    # --- places -------------------------------------------------------------------------------

    def events_of(self, handoff_id: UUID | None, attempt: int | None = None) -> list[Event]:
        """A handoff's events, or those of one of its attempts."""
        return [
            event
            for event in self.events
            if event.handoff_id == handoff_id and attempt in (None, event.attempt)
        ]

    def some_row(self, fits: Callable[[Row], bool]) -> Row:
        """A row like that; it is there, or the test is wrong."""
        return next(row for row in self.rows.values() if fits(row))

    def some_event(self, fits: Callable[[Event], bool]) -> Event:
        """An event like that, of a handoff that has a row."""
        return next(event for event in self.events if self.is_there(event) and fits(event))

    def some_note(self, fits: Callable[[Note], bool]) -> Note:
        """A note like that."""
        return next(note for note in self.notes if fits(note))

    def is_there(self, event: Event) -> bool:
        """Whether its handoff has a row."""
        return event.handoff_id in self.rows

    def row_of(self, about: Event | Note) -> Row:
        """The row of what this is about."""
        assert about.handoff_id is not None
        return self.rows[about.handoff_id]

    def saw(self, saw: Saw, handoff_id: UUID | None) -> bool:
        """Whether somebody noted this of the handoff."""
        return any(note.saw == saw and note.handoff_id == handoff_id for note in self.notes)

    def is_no_step(self, row: Row) -> bool:
        """Whether nothing has to follow from its completion."""
        return row.steps is None or row.steps <= 1

    def lost_attempts(self) -> Iterator[tuple[Event, Event]]:
        """The end of each attempt that another one followed, and how the other one began."""
        ended: dict[UUID | None, Event] = {}
        for event in filter(self.is_there, self.events):
            if event.name == "handoff.dispatched" and event.handoff_id in ended:
                yield ended[event.handoff_id], event
            if event.name in TAKES_BACK:
                ended[event.handoff_id] = event
            elif event.name != "handoff.settled_late":
                ended.pop(event.handoff_id, None)

    def successes(self) -> Iterator[Event]:
        """The last ends of handoffs from which nothing has to follow."""
        last = {event.handoff_id: event for event in filter(self.is_there, self.events)}
        for event in last.values():
            if event.name == "handoff.succeeded" and self.is_no_step(self.row_of(event)):
                yield event

    # --- changes ------------------------------------------------------------------------------

    def put(self, after: Event, *events: Event) -> None:
        """Let these happen directly after another one; they need no number."""
        where = self.events.index(after) + 1
        self.events[where:where] = [
            replace(event, sequence=next(self._unused), at=after.at) for event in events
        ]

    def drop(self, events: Iterable[Event]) -> None:
        """Let these never have happened."""
        gone = {event.sequence for event in events}
        self.events = [event for event in self.events if event.sequence not in gone]

    def move(self, event: Event, after: Event) -> None:
        """Let one happen directly after another."""
        self.events.remove(event)
        self.events.insert(self.events.index(after) + 1, event)

    def change(self, row: Row, **columns: Any) -> None:
        """Let a row show something else."""
        self.rows[row.id] = replace(row, **columns)

    def renumber(self, handoff_id: UUID, attempt: int, to: int) -> None:
        """Let an attempt have another number everywhere."""
        for nth, event in enumerate(self.events):
            if (event.handoff_id, event.attempt) == (handoff_id, attempt):
                self.events[nth] = replace(event, attempt=to)
        self.rewrite_notes(handoff_id, attempt, attempt=to)
        self.change(self.rows[handoff_id], attempt=to)

    def give_to_stranger(self, about: Event) -> Event:
        """Let the attempt of this event have been a stranger's; return what became of the event."""
        assert about.handoff_id is not None
        assert about.attempt is not None
        for nth, event in enumerate(self.events):
            same = (event.handoff_id, event.attempt) == (about.handoff_id, about.attempt)
            if same and event.agent is not None:
                self.events[nth] = replace(event, agent=STRANGER)
        self.rewrite_notes(about.handoff_id, about.attempt, client=STRANGER)
        return next(event for event in self.events if event.sequence == about.sequence)

    def rewrite_notes(self, handoff_id: UUID, attempt: int, /, **fields: Any) -> None:
        """Let all notes of an attempt say something else."""
        for nth, note in enumerate(self.notes):
            if (note.handoff_id, note.attempt) == (handoff_id, attempt):
                self.notes[nth] = note.model_copy(update=fields)

    def drop_notes(self, handoff_id: UUID | None, attempt: int | None = None) -> None:
        """Let nobody have noted anything of a handoff, or of one of its attempts."""
        self.notes = [
            note
            for note in self.notes
            if note.handoff_id != handoff_id or attempt not in (None, note.attempt)
        ]

    def rewrite(self, note: Note, **fields: Any) -> None:
        """Let one note say something else."""
        self.notes[self.notes.index(note)] = note.model_copy(update=fields)

    def note_also(self, note: Note, **fields: Any) -> None:
        """Let there be another note like this one."""
        self.notes.append(note.model_copy(update=fields))

    def add_row(self, **columns: Any) -> Row:
        """Let there be another row, without any event."""
        handoff_id = uuid4()
        plain = Row(
            id=handoff_id, from_agent="eve", to_agent="nobody", position=10**9, root_id=handoff_id
        )
        row = self.rows[handoff_id] = replace(plain, **columns)
        return row

    def add_handoff(self, **columns: Any) -> Row:
        """Let there be another row, and the event with which it began."""
        row = self.add_row(**columns)
        last = self.events[-1]
        self.put(last, Event(0, last.xid + 1, 0, "handoff.queued", row.id, 0, priority=0))
        return row
