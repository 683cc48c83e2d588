"""Hooks as a client starts them: short processes with JSON on stdin."""

import json
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from coordinator.waking.door import FOLDER_VARIABLE
from tests.support.commands import Ended
from tests.support.processes import SCRIPT, RunningProcess, running

ATTENDED: Mapping[str, str] = {"CLAUDE_CODE_ENTRYPOINT": "cli"}
HEADLESS: Mapping[str, str] = {"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}
_WITH_STDIN = 'exec "$@" <"$0"'
_IN_A_SHELL_THAT_STAYS = '{line} <"$0" || exit $?; true'
_NESTED_CLIENT = """
import json, os, subprocess, sys
sys.exit(subprocess.run(json.loads(os.environ.pop("COMMAND"))).returncode)
"""


@contextmanager
def meeting_place() -> Iterator[Path]:
    """A folder for sockets; its path is short, as the kernel wants it."""
    with tempfile.TemporaryDirectory(prefix="hooks-", dir="/tmp") as name:
        yield Path(name)


def at(folder: Path) -> dict[str, str]:
    """The environment in which servers and hooks meet in this folder."""
    return {FOLDER_VARIABLE: str(folder)}


@asynccontextmanager
async def hook(
    folder: Path,
    client: str,
    event: str,
    agent: str,
    *,
    env: Mapping[str, str] = ATTENDED,
    **given: object,
) -> AsyncIterator[RunningProcess]:
    """Run a hook; it is killed at the end of the block if it has not ended."""
    text = json.dumps({"hook_event_name": event, **given}).encode()
    async with _hook(folder, client, event, agent, env=env, text=text) as process:
        yield process


async def hook_ended(
    folder: Path,
    client: str,
    event: str,
    agent: str,
    *,
    env: Mapping[str, str] = ATTENDED,
    text: bytes | None = None,
    by: str = "the client",
    **given: object,
) -> Ended:
    """Run a hook to its end; `text` is what it finds on stdin instead of JSON.

    It is called by `the client`, by `a shell` of it that stays, or by `a nested client`.
    """
    said = json.dumps({"hook_event_name": event, **given}).encode() if text is None else text
    async with _hook(folder, client, event, agent, env=env, text=said, by=by) as process:
        code = await process.wait()
        return Ended(code, process.stdout, process.stderr)


def hooks_of(agent: str) -> list[int]:
    """The processes of hooks of this agent."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"hook" in words and agent.encode() in words:
            found.append(int(process.name))
    return found


@asynccontextmanager
async def _hook(
    folder: Path,
    client: str,
    event: str,
    agent: str,
    *,
    env: Mapping[str, str],
    text: bytes,
    by: str = "the client",
) -> AsyncIterator[RunningProcess]:
    with tempfile.NamedTemporaryFile(prefix="coordinator-test-") as stdin:
        stdin.write(text)
        stdin.flush()
        arguments = [str(SCRIPT), "agent", "hook", client, event, "--agent", agent]
        command = ["/bin/sh", "-c", _WITH_STDIN, stdin.name, *arguments]
        if by == "a shell":
            line = _IN_A_SHELL_THAT_STAYS.format(line=shlex.join(arguments))
            command = ["/bin/sh", "-c", line, stdin.name]
        elif by == "a nested client":
            env = {**env, "COMMAND": json.dumps(command)}
            command = [sys.executable, "-c", _NESTED_CLIENT]
        async with running(command, env={**at(folder), **env}) as process:
            yield process
