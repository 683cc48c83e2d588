"""Whether what the clients were told is what happened.

A note of intent without an answer may go either way. Notes are counted and compared by what they
name, never by their time. What was deleted is not judged: a word about it may come too late.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Literal
from uuid import UUID

from coordinator.core.errors import Refusal
from coordinator.core.model import CancelAnswer, Verdict
from tests.faults.checking.lives import Lives
from tests.faults.checking.record import Attempt, Event, History, Rule, Violation
from tests.faults.history import Note

_SettledAs = Literal["succeeded", "failed"]

_MAY_MEET_A_REPETITION = {
    Refusal.SUPERSEDED,
    Refusal.UNKNOWN_AGENT,
    Refusal.HOP_LIMIT,
    Refusal.WOULD_WAIT_FOREVER,
    Refusal.AGENT_LEFT,
}
"""Refusals that a client may get which had sent before, without its knowing that this was done."""
_KEY_OF_ANOTHER = {Refusal.IDEMPOTENCY_CONFLICT, "23505"}
_BY_THE_AGENT = "failed"
"""The reason that an event has where its agent's own word ended the attempt."""


def lost(history: History, lives: Lives) -> Iterator[Violation]:
    """Find what was acknowledged and does not exist."""
    rows = {row.id for row in history.rows}
    for note in _of(history.notes, "acknowledged"):
        if note.handoff_id not in rows and note.handoff_id not in lives.ever_deleted:
            yield Violation(
                Rule.LOST, f"{note.handoff_id}: acknowledged to {note.client}, has no row"
            )


def refused(history: History) -> Iterator[Violation]:
    """Find what exists though every try to hand it off was refused."""
    by_id = {row.id: row for row in history.rows}
    by_key = {(row.from_agent, row.idempotency_key): row for row in history.rows}
    tries = Counter(map(_sent, _of(history.notes, "sending")))
    answers = [
        note
        for note in _of(history.notes, "refused")
        if note.sqlstate not in _MAY_MEET_A_REPETITION
    ]
    refusals = Counter(map(_sent, answers))
    for note in answers:
        if tries[_sent(note)] != refusals[_sent(note)]:
            continue  # another try may have been taken
        row = by_id.get(note.handoff_id) if note.handoff_id else None
        if row is None and note.key is not None and note.sqlstate not in _KEY_OF_ANOTHER:
            row = by_key.get((note.client, note.key))
        if row is not None:
            yield Violation(
                Rule.REFUSED, f"{row.id}: {note.client} was refused it ({note.sqlstate})"
            )


def keys(history: History, lives: Lives) -> Iterator[Violation]:
    """Find keys that made two handoffs, by the rows or by the answers, and one made by two keys."""
    made: defaultdict[tuple[str, str], set[UUID]] = defaultdict(set)
    for row in history.rows:
        if row.idempotency_key is not None:
            made[row.from_agent, row.idempotency_key].add(row.id)
    keys_of: defaultdict[UUID, set[tuple[str, str]]] = defaultdict(set)
    for note in _of(history.notes, "acknowledged"):
        if note.key is not None and note.handoff_id is not None:
            keys_of[note.handoff_id].add((note.client, note.key))
            if note.handoff_id not in lives.ever_deleted:
                made[note.client, note.key].add(note.handoff_id)
    for (sender, key), handoffs in made.items():
        if len(handoffs) > 1:
            yield Violation(Rule.KEY, f"{key} of {sender} made {sorted(map(str, handoffs))}")
    for handoff_id, given in keys_of.items():
        if len(given) > 1:
            yield Violation(Rule.KEY, f"{handoff_id} was made by several keys: {sorted(given)}")


def accepted(history: History, lives: Lives) -> Iterator[Violation]:
    """Find attempts that an agent took up though it was not given them."""
    for note, attempt in _of_attempts(history.notes, "accepted"):
        given = lives.given.get(attempt)
        if given is None or given.agent != note.client:
            to = "nobody" if given is None else given.agent
            yield Violation(
                Rule.ACCEPTED, f"{_shown(attempt)}: {note.client} took it up, {to} was given it"
            )


def verdicts(history: History, lives: Lives) -> Iterator[Violation]:
    """Find verdicts that are not true, and attempts that two clients settled."""
    said: defaultdict[tuple[str, Attempt], set[_SettledAs]] = defaultdict(set)
    for note, attempt in _of_attempts(history.notes, "finishing"):
        if note.outcome is not None:
            said[note.client, attempt].add(note.outcome)
    applied: Counter[Attempt] = Counter()
    for note, attempt in _of_attempts(history.notes, "finished"):
        if attempt[0] in lives.ever_deleted:
            continue
        applied[attempt] += note.verdict == Verdict.APPLIED
        words = {note.outcome} if note.outcome else said.get((note.client, attempt), {"failed"})
        why = _wrong_verdict(note, attempt, words, lives)
        if why is not None:
            yield Violation(
                Rule.VERDICT,
                f"{_shown(attempt)}: {note.client} was told {note.verdict}, but {why}",
            )
    for attempt, count in applied.items():
        if count > 1:
            yield Violation(Rule.VERDICT, f"{_shown(attempt)}: {count} were told applied")


def _wrong_verdict(
    note: Note, attempt: Attempt, words: Set[_SettledAs], lives: Lives
) -> str | None:
    """Say why a verdict cannot be; None where it is right.

    An agent that is stopped says no outcome beforehand: its SDK then says that it has failed.
    """
    settled = [event for event in lives.ended.get(attempt, ()) if event.agent == note.client]
    as_said = [event for event in settled if _settled_as(event) in words]
    match note.verdict:
        case Verdict.APPLIED | Verdict.REPEATED if len(as_said) != 1:
            return f"it said {_joined(words)}, and its ends are {_joined(map(_told, settled))}"
        case Verdict.STALE if as_said and lives.given[attempt].incarnation is not None:
            # Only a life can tell its own word from that of an earlier one.
            return f"event {as_said[0].sequence} is {as_said[0].name}"
    return None


def _settled_as(event: Event) -> _SettledAs | None:
    """What the agent itself said; None where somebody else ended the attempt."""
    if event.name == "handoff.succeeded":
        return "succeeded"
    return "failed" if event.reason == _BY_THE_AGENT else None


def cancels(history: History, lives: Lives) -> Iterator[Violation]:
    """Find cancels whose answer is not true."""
    done: Counter[UUID] = Counter()
    for note in _of(history.notes, "cancel_answered"):
        life = lives.of.get(note.handoff_id) if note.handoff_id else None
        if note.handoff_id is None or life is None or note.handoff_id in lives.ever_deleted:
            continue
        done[note.handoff_id] += note.verdict == CancelAnswer.CANCELLED
        match note.verdict:
            case CancelAnswer.CANCELLED:
                at_once = [event for event in life.completions if event.reason == "cancelled"]
                true = done[note.handoff_id] <= len(at_once)
            case CancelAnswer.REQUESTED:
                true = life.was_asked_to_stop
            case _:
                true = bool(life.completions)
        if not true:
            ends = _joined(map(_told, life.completions))
            yield Violation(
                Rule.CANCEL,
                f"{note.handoff_id}: {note.client} was told {note.verdict}, its ends are {ends}",
            )


def _of(notes: Sequence[Note], saw: str) -> Iterator[Note]:
    return (note for note in notes if note.saw == saw)


def _of_attempts(notes: Sequence[Note], saw: str) -> Iterator[tuple[Note, Attempt]]:
    for note in _of(notes, saw):
        if note.handoff_id is not None and note.attempt is not None:
            yield note, (note.handoff_id, note.attempt)


def _sent(note: Note) -> tuple[str, UUID | str | None]:
    """What makes several tries one: the id that the client chose, or its key."""
    return note.client, note.handoff_id or note.key


def _shown(attempt: Attempt) -> str:
    return f"{attempt[0]}, attempt {attempt[1]}"


def _told(event: Event) -> str:
    return f"{event.sequence} {event.name} ({event.reason})"


def _joined(told: Iterable[str]) -> str:
    return ", ".join(told) or "none"
