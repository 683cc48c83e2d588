"""The ear for the session's hooks: it waits for a handoff in their stead, as a tool call would.

A session at rest makes no tool call. Its hook waits here instead, and the agent is idle for as long
as it does: one agent is chosen, and only its session is woken. When the hook has gone, or the user
has put the session to work, the agent is given nothing more.

What is told is counted. A session that was told of a handoff and ends its turn without accepting it
is told once more; one that has accepted it and ends its turn is reminded once. Then it is left in
peace, and the time limits of the handoff decide.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

import anyio
from anyio.abc import TaskGroup

from coordinator.agents.background import background
from coordinator.agents.mcp.callers import Callers
from coordinator.agents.mcp.waiting import Found, Waited, Waiting
from coordinator.agents.mcp.work import Work
from coordinator.core.errors import ConfigError, CoordinatorError, StoreUnavailable
from coordinator.core.model import Handoff, Token
from coordinator.waking import words
from coordinator.waking.door import Door, check_peer, opened
from coordinator.waking.programs import parent
from coordinator.waking.words import LONGEST_LINE, Answer, Garbled, Origin, Request, Word

_MOST_HOOKS = 32
_LINE_WITHIN_S = 5
_PAUSE_S = 1
_OFTEN_OFFERED = 2
_OFTEN_REMINDED = 1

_NOTHING = Answer(words.Found.NOTHING)
_REPLACED = Answer(words.Found.REPLACED)
_NOTED = Answer(words.Found.NOTED)
_log = logging.getLogger(__name__)


class Hooks:
    """Hears the hooks of the agent's session, at most 32 at a time."""

    def __init__(
        self, work: Work, waiting: Waiting, *, leave: Callable[[], None] | None = None
    ) -> None:
        self._work = work
        self._waiting = waiting
        self._leave = leave
        """Ends the server; None where it serves other sessions, too."""
        self._callers = Callers(parent() if leave else None)
        self._present: _HookWait | None = None
        self._open = 0
        self._told_of: tuple[Token, bool] | None = None
        self._times_told = 0

    async def hear(self, door: Door, *, look_every: timedelta) -> None:
        """Answer whoever comes to the door, for ever; make it again where it has gone.

        The folder of a user goes with their last logout, and what runs in tmux stays. Whoever waits
        already waits on.
        """
        warned = False
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    with opened(door) as listener:
                        warned = False
                        await self._accept(listener, door, tasks, look_every=look_every)
                except OSError as error:
                    if not warned:
                        _log.warning("hooks cannot wake this agent's session: %s", error)
                    warned = True
                    await anyio.sleep(look_every.total_seconds())

    async def _accept(
        self, listener: socket.socket, door: Door, tasks: TaskGroup, *, look_every: timedelta
    ) -> None:
        """Answer whoever comes, until there is no door: one that is another's by now is one."""
        while True:
            with anyio.move_on_after(look_every.total_seconds()) as quiet:
                await anyio.wait_readable(listener)
            if quiet.cancelled_caught:
                if door.socket.exists():
                    continue
                return
            try:
                stream, _ = listener.accept()
            except OSError:  # it has gone again, or there are no descriptors: both pass
                await anyio.sleep(_PAUSE_S)
                continue
            if self._open < _MOST_HOOKS:
                self._open += 1
                tasks.start_soon(self._serve, stream)
            else:
                stream.close()

    async def _serve(self, stream: socket.socket) -> None:
        try:
            with stream:
                stream.setblocking(False)
                check_peer(stream)
                with anyio.fail_after(_LINE_WITHIN_S):
                    request = Request.of(await _line(stream))
                await self._answer(stream, request)
        except (OSError, TimeoutError, Garbled, CoordinatorError):
            pass  # a hook that hears nothing says nothing
        finally:
            self._open -= 1

    async def _answer(self, stream: socket.socket, request: Request) -> None:
        if not self._callers.admit(request.origin):
            _send(stream, _REPLACED if request.word is Word.WAIT else _NOTED)
            return
        match request.word:
            case Word.WAIT:
                await self._answer_to_wait(stream, request)
            case Word.BUSY:
                await self._be_busy()
                _send(stream, _NOTED)
            case Word.END:
                await self._end(request.origin)
                _send(stream, _NOTED)
            case _:
                assert_never(request.word)

    async def _answer_to_wait(self, stream: socket.socket, request: Request) -> None:
        waited: Waited | None = None
        with anyio.CancelScope() as while_there:
            async with background() as tasks:
                tasks.start_soon(_until_gone, stream, while_there.cancel)
                waited = await self._wait(request)
        if waited is None:
            await self._go_away()
            return
        _send(stream, self._tell(waited))

    async def _wait(self, request: Request) -> Waited:
        if self._work.own_word:
            return Waited(Found.NOTHING)
        waited = Waited(Found.REPLACED)
        with self._until_busy():
            waited = await self._patiently(request.at_most)
        if waited.found is Found.NOTHING and not request.comes_back:
            given = await self._go_away()
            return waited if given is None else _waited(given)
        return waited

    async def _patiently(self, at_most: timedelta | None) -> Waited:
        """Wait, and wait for the database, too."""
        with anyio.move_on_after(None if at_most is None else at_most.total_seconds()):
            while True:
                try:
                    return await self._waiting.wait(at_most)
                except (StoreUnavailable, ConfigError):
                    await anyio.sleep(_PAUSE_S)
        return Waited(Found.NOTHING)

    @contextmanager
    def _until_busy(self) -> Iterator[None]:
        mine = _HookWait()
        self._present = mine
        try:
            with mine.scope:
                yield
        finally:
            mine.over.set()
            if self._present is mine:
                self._present = None

    async def _be_busy(self) -> None:
        if self._present is not None:
            self._present.scope.cancel()
            await self._present.over.wait()
        await self._go_away()

    async def _end(self, origin: Origin) -> None:
        # Who may be another client of this user does not end ours.
        if self._leave is not None and self._callers.is_our_client(origin):
            self._leave()
        else:
            await self._be_busy()

    async def _go_away(self) -> Handoff | None:
        return None if self._work.waits else await self._work.go_away()

    def _tell(self, waited: Waited) -> Answer:
        row = waited.handoff
        match waited.found:
            case Found.NOTHING:
                return _NOTHING
            case Found.REPLACED:
                return _REPLACED
        if row is None:
            return _NOTHING
        told_of = (row.token, waited.found is Found.UNDER_WAY)
        self._times_told = self._times_told + 1 if told_of == self._told_of else 1
        self._told_of = told_of
        if waited.found is Found.UNDER_WAY:
            often, found = _OFTEN_REMINDED, words.Found.UNDER_WAY
        else:
            often, found = _OFTEN_OFFERED, words.Found.OFFERED
        return _NOTHING if self._times_told > often else Answer(found, row.id, row.attempt)


@dataclass(frozen=True, slots=True)
class _HookWait:
    """One hook's wait, which another hook may end."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    over: anyio.Event = field(default_factory=anyio.Event)


def _waited(row: Handoff) -> Waited:
    return Waited(Found.OFFERED if row.accepted_at is None else Found.UNDER_WAY, row)


async def _until_gone(stream: socket.socket, then: Callable[[], None]) -> None:
    """Call `then` when the hook has gone; what else it says is passed over."""
    while True:
        await anyio.wait_readable(stream)
        try:
            if stream.recv(LONGEST_LINE):
                continue
        except OSError:
            pass
        then()
        return


async def _line(stream: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        await anyio.wait_readable(stream)
        chunk = stream.recv(LONGEST_LINE)
        line += chunk
        if not chunk or len(line) > LONGEST_LINE:
            raise Garbled("the connection ended in the midst of a line, or it has no end")
    return line


def _send(stream: socket.socket, answer: Answer) -> None:
    stream.send(answer.line())  # it fits the buffer of a new socket: this does not wait
