"""The command `agent hook`: what a model's client starts at the turns of a session."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from coordinator.core.errors import ExitCode
from coordinator.core.wrapped import WrappedVariable
from coordinator.waking.asking import ask
from coordinator.waking.clients import (
    Client,
    Moment,
    Told,
    origin_of,
    plan,
    thread_of,
    told,
    wording,
)
from coordinator.waking.door import FOLDER_VARIABLE, Door
from coordinator.waking.programs import Program, callers
from coordinator.waking.turns import Turn
from coordinator.waking.words import Found, Request

_ENTRYPOINT_VARIABLE = "CLAUDE_CODE_ENTRYPOINT"
_MOST_READ = 4 * 1024 * 1024
_READ_WITHIN_S = 2.0
_QUEUED_WITHIN_S = 20
_CODEX = "codex"
_EXAMPLES = """\b
Examples:
  coordinator agent hook claude rest --agent claude-1
  coordinator agent hook codex start --agent codex-1
"""


@click.command(epilog=_EXAMPLES)
@click.argument("client", type=click.Choice([each.value for each in Client]))
@click.argument("event", type=click.Choice([each.value for each in Moment]))
@click.option("--agent", "name", required=True, help="The agent's name, as `mcp` has it.")
def hook(client: str, event: str, *, name: str) -> int:
    """Tell the agent's MCP server what its session does, and wake the session for a handoff.

    The CLIENT's hooks call this when a session starts, rests (its turn has ended), is busy (its
    user has typed) or ends, with JSON on stdin. Where no server is there it says nothing. The exit
    code is 0; 2 tells Claude Code of a handoff.
    """
    above = callers(["agent", "hook", client, event])
    given = _given()
    if WrappedVariable.HANDOFF_ID in os.environ:
        # A wrapped client works on what its runner gives it. The server of this name, if there is
        # one, is that of another session.
        return ExitCode.OK
    told_now = _carry_out(Client(client), Moment(event), name, given, above)
    sys.stdout.write(told_now.out)
    sys.stderr.write(told_now.err)
    return told_now.code


def _carry_out(
    client: Client,
    moment: Moment,
    name: str,
    given: Mapping[str, Any],
    above: tuple[Program, ...],
) -> Told:
    door = Door.of(name, folder=os.environ.get(FOLDER_VARIABLE))
    todo = plan(client, moment, given, entrypoint=os.environ.get(_ENTRYPOINT_VARIABLE))
    turn = Turn.of_this_process(waits=todo.waits)
    if todo.ask is None and todo.leave_behind is None:
        return told(client, moment, None)
    turn.take(door)
    origin = origin_of(client, moment, given, above)
    answer = None
    if todo.ask is not None:
        answer = ask(door, replace(todo.ask, origin=origin), turn, patience=todo.patience)
    now = told(client, moment, answer)
    thread = thread_of(given)
    goes_on = todo.ask is None or (answer is not None and answer.found is Found.NOTHING)
    if todo.leave_behind and goes_on and thread and shutil.which(_CODEX) and not turn.is_over(door):
        left_behind = replace(todo.leave_behind, origin=origin)
        _leave_behind(door, left_behind, todo.patience, turn, thread)
    return now


def _leave_behind(
    door: Door, request: Request, patience: timedelta, turn: Turn, thread: str
) -> None:
    """Go on waiting in a process of its own, which the client does not wait for."""
    if os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    answer = ask(door, request, turn, patience=patience)
    text = wording(answer)
    if text is not None:
        _queue(thread, text)
    sys.exit(ExitCode.OK)


def _queue(thread: str, text: str) -> None:
    """Begin a turn in a live Codex thread; where that fails, the handoff goes back."""
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [_CODEX, "queue", "--thread", thread, "--message", text],
            check=False,
            timeout=_QUEUED_WITHIN_S,
        )


def _given() -> Mapping[str, Any]:
    """Read what the client says; nothing where that is odd, too long, or does not come."""
    text, deadline = b"", time.monotonic() + _READ_WITHIN_S
    try:
        while len(text) <= _MOST_READ:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([0], [], [], left)[0]:
                break
            chunk = os.read(0, 65536)
            if not chunk:
                break
            text += chunk
        found = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
