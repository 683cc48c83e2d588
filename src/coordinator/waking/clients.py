"""What each client's hooks mean for us, and in which words each is told.

A client that runs a hook beside the session can be woken whenever something comes: the hook waits.
One that waits for the hook itself must not be kept: the hook asks, and gives a handoff that is
there already the time to be dispatched.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from coordinator.waking.programs import Program
from coordinator.waking.words import LONGEST_SESSION, Answer, Found, Origin, Request, Word


class Client(StrEnum):
    """The clients whose hooks we know."""

    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"
    CURSOR = "cursor"


class Moment(StrEnum):
    """When a client starts a hook."""

    START = "start"
    REST = "rest"
    BUSY = "busy"
    END = "end"


ATTENDED = "cli"
"""What Claude Code calls itself to its hooks where a person sits before it."""
_SHORT = timedelta(seconds=2)
_SERVER_COMES_WITHIN = timedelta(seconds=30)
_NO_PATIENCE = timedelta(0)
_GOES_ON = {"clear", "resume", "compact"}
"""Reasons for the end of a session after which the client, and our server with it, goes on."""
_AT_ONCE = Request(Word.WAIT, _SHORT)
_UNTIL_THERE_IS_ONE = Request(Word.WAIT)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a hook does: what it asks, while the client waits for it, and what it leaves behind."""

    ask: Request | None = None
    patience: timedelta = _NO_PATIENCE
    leave_behind: Request | None = None
    """Asked by a process that stays when the hook has ended, which tells a live thread."""

    @property
    def waits(self) -> bool:
        """Whether it makes the session idle."""
        return self.leave_behind is not None or (
            self.ask is not None and self.ask.word is Word.WAIT
        )


@dataclass(frozen=True, slots=True)
class Told:
    """How a hook ends: what the client finds."""

    out: str = ""
    err: str = ""
    code: int = 0


def plan(
    client: Client, moment: Moment, given: Mapping[str, Any], *, entrypoint: str | None
) -> Plan:
    """Decide what a hook does.

    `given` is what the client says on stdin, of which any part may be missing, and `entrypoint` is
    what Claude Code calls itself.
    """
    match moment:
        case Moment.START:
            return _at_start(client, given, entrypoint)
        case Moment.REST:
            return _at_rest(client, given, entrypoint)
        case Moment.BUSY:
            return Plan(Request(Word.BUSY))
        case Moment.END:
            return Plan(Request(_last_word(client, given)))


def told(client: Client, moment: Moment, answer: Answer | None) -> Told:
    """Say to the client what the server said: to start a turn, or nothing."""
    text = wording(answer)
    if client is Client.CURSOR:
        return _told_to_cursor(moment, text)
    if text is None or moment not in (Moment.START, Moment.REST):
        return Told()
    match client:
        case Client.CLAUDE:
            return Told(err=text + "\n", code=2)
        case Client.CODEX:
            return Told(out=json.dumps({"decision": "block", "reason": text}) + "\n")
        case Client.GEMINI:
            return Told(out=json.dumps({"decision": "deny", "reason": text}) + "\n")


def wording(answer: Answer | None) -> str | None:
    """Return what a model is told; None where there is nothing to tell."""
    if answer is None or answer.handoff_id is None:
        return None
    ids = f"handoff_id {answer.handoff_id} and attempt {answer.attempt}"
    if answer.found is Found.OFFERED:
        return (
            "The coordinator has a handoff for you. Call the tool accept_handoff of the coordinator"
            f" now, within half a minute, with {ids}: its answer shows the task. If you should not"
            " take it, call decline_handoff with them instead. Then do the work, end it with"
            " complete_handoff or fail_handoff, and end your turn; the next handoff wakes you."
        )
    return (
        f"You have accepted a handoff of the coordinator and not ended it: {ids}. Go on with it,"
        " and end it with complete_handoff or fail_handoff. If you wait for something that still"
        " runs, say so with report_progress and end your turn; you are not reminded again."
    )


def origin_of(
    client: Client, moment: Moment, given: Mapping[str, Any], callers: tuple[Program, ...]
) -> Origin:
    """Say where a hook comes from.

    Of Cursor nobody has seen which of its many processes starts what: they tell nothing.
    """
    found = given.get("session_id")
    session = found if isinstance(found, str) and len(found) <= LONGEST_SESSION else None
    return Origin(
        () if client is Client.CURSOR else callers,
        session if session and session.isascii() and session.isprintable() else None,
        begins=moment is Moment.START,
        ends=moment is Moment.END,
    )


def thread_of(given: Mapping[str, Any]) -> str | None:
    """Return the id of the session, as `codex queue` takes it; None where there is none."""
    match given:
        case {"session_id": str(text)}:
            try:
                return str(UUID(text))
            except ValueError:
                return None
        case _:
            return None


def _at_start(client: Client, given: Mapping[str, Any], entrypoint: str | None) -> Plan:
    if given.get("source") == "compact":  # in the midst of a turn
        return Plan()
    if client is Client.CLAUDE and entrypoint == ATTENDED:
        return Plan(_UNTIL_THERE_IS_ONE, _SERVER_COMES_WITHIN)
    if client is Client.CODEX:
        return Plan(patience=_SERVER_COMES_WITHIN, leave_behind=_UNTIL_THERE_IS_ONE)
    # The session begins with its user's prompt, or nothing could be told to it.
    return Plan()


def _at_rest(client: Client, given: Mapping[str, Any], entrypoint: str | None) -> Plan:
    match client:
        case Client.CLAUDE if entrypoint == ATTENDED:
            return Plan(_UNTIL_THERE_IS_ONE)
        case Client.CODEX:
            return Plan(
                Request(Word.WAIT, _SHORT, comes_back=True), leave_behind=_UNTIL_THERE_IS_ONE
            )
        case Client.CURSOR if given.get("status", "completed") != "completed":
            return Plan(Request(Word.BUSY))  # its user has stopped it, or its model is away
        case _:
            return Plan(_AT_ONCE)


def _last_word(client: Client, given: Mapping[str, Any]) -> Word:
    # Codex and Cursor end a thread and keep the server, or have another one by then.
    stays = client in (Client.CODEX, Client.CURSOR) or given.get("reason") in _GOES_ON
    return Word.BUSY if stays else Word.END


def _told_to_cursor(moment: Moment, text: str | None) -> Told:
    match moment:
        case Moment.REST if text is not None:
            return Told(out=json.dumps({"followup_message": text}) + "\n")
        case Moment.BUSY:
            return Told(out=json.dumps({"continue": True}) + "\n")
        case _:
            return Told(out="{}\n")
