"""Waiting for what another process does, without guessing how long it takes."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import anyio

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1

Answer = TypeVar("Answer")


async def eventually(
    probe: Callable[[], Awaitable[Answer]], *, within: timedelta = timedelta(seconds=10)
) -> Answer:
    """Ask until the answer is true, and return it; fail with the last answer after `within`."""
    deadline = time.monotonic() + within.total_seconds()
    pause = _FIRST_PAUSE
    while not (answer := await probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within}; the last answer was {answer!r}")
        await anyio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    return answer
