"""A contender's program as a process that tells what it does in lines of JSON."""

import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

_ROOT = Path(__file__).parents[1]
_LONGEST_LINE = 4 * 1024 * 1024
_ENDS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Child:
    """A program under way."""

    process: Process
    lines: BufferedByteReceiveStream
    errors: Path

    async def hear(self, key: str) -> dict[str, Any]:
        """Wait for the next line that has this key; raise RuntimeError where none comes."""
        while True:
            try:
                said = await self.lines.receive_until(b"\n", _LONGEST_LINE)
            except anyio.IncompleteRead:
                words = self.errors.read_text(errors="replace")[-2000:]
                raise RuntimeError(
                    f"a benchmark's program ended before it told of {key!r};"
                    f" on stderr it said: {words or 'nothing'}"
                ) from None
            line = _parsed(said)
            if key in line:
                return line


def program(module: str, *given: object) -> list[str | Path]:
    """The command line of a program of our own, such as `agents`."""
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, given)]


@asynccontextmanager
async def child(
    command: Sequence[str | Path], env: Mapping[str, str] = os.environ
) -> AsyncIterator[Child]:
    """Run a program until the end of the block; then it is asked to end, and killed if it stays."""
    with tempfile.NamedTemporaryFile(prefix="coordinator-bench-") as errors:
        process = await anyio.open_process(
            [str(part) for part in command],
            env={**env, "PYTHONPATH": str(_ROOT)},
            stderr=errors.fileno(),
        )
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        try:
            yield Child(process, lines, Path(errors.name))
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


async def finished(command: Sequence[str | Path], env: Mapping[str, str] = os.environ) -> None:
    """Run a program to its end; raise RuntimeError with what it said where it fails."""
    parts = [str(part) for part in command]
    done = await anyio.run_process(parts, env={**env, "PYTHONPATH": str(_ROOT)}, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{command[-2:]} ended with {done.returncode}: {said}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(_ENDS_WITHIN_S):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of JSON; what a peer logs on the same stream says nothing."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
