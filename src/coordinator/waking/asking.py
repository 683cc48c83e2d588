"""The hook's side: one question to the server, and its answer; or none."""

import socket
import time
from datetime import timedelta

from coordinator.waking.door import Door, entered
from coordinator.waking.turns import Turn
from coordinator.waking.words import LONGEST_LINE, Answer, Garbled, Request, Word

_ANSWER_WITHIN_S = 1.5
_BETWEEN_TRIES_S = 0.2


class TurnOver(OSError):
    """A newer hook of the session has come."""


def ask(door: Door, request: Request, turn: Turn, *, patience: timedelta) -> Answer | None:
    """Ask the server, and return what it says; None where there is none, or a newer hook came.

    `patience` is how long to wait for a server that is not there yet. A server that does not answer
    in time counts as none, whatever keeps it.
    """
    try:
        with _connected(door, turn, patience=patience) as stream:
            stream.sendall(request.line())
            # Once more: whoever comes after this finds the server with our question.
            if turn.is_over(door):
                return None
            stream.settimeout(_limit(request))
            return Answer.of(_line(stream))
    except (OSError, Garbled):
        return None


def _connected(door: Door, turn: Turn, *, patience: timedelta) -> socket.socket:
    deadline = time.monotonic() + patience.total_seconds()
    while not turn.is_over(door):
        try:
            return entered(door, within_s=_ANSWER_WITHIN_S)
        except OSError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_BETWEEN_TRIES_S)
    raise TurnOver


def _limit(request: Request) -> float | None:
    if request.word is not Word.WAIT:
        return _ANSWER_WITHIN_S
    if request.at_most is None:
        return None
    return request.at_most.total_seconds() + _ANSWER_WITHIN_S


def _line(stream: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        chunk = stream.recv(LONGEST_LINE)
        line += chunk
        if not chunk or len(line) > LONGEST_LINE:
            raise Garbled("the connection ended in the midst of a line")
    return line
