"""Log lines on their way out: nobody waits for the reader, and what is needed is not dropped."""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from coordinator.core.events import Level, ListenerLost
from coordinator.core.transitions import Transition
from coordinator.telemetry import configure

AT_ONCE = timedelta(milliseconds=50)
SOON = timedelta(seconds=10)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEAST = 4096
"""Bytes that the smallest pipe can hold."""

Line = dict[str, Any]


class Pipe:
    """A log that goes into a small pipe, which is read when the test says so."""

    def __init__(self, *, blocking: bool = True) -> None:
        self._text = b""
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, LEAST)
        os.set_blocking(writing, blocking)
        self.stream = os.fdopen(writing, "w")
        self.telemetry = configure(
            format="json", level=Level.INFO, stream=self.stream, service_version="1", instance="i"
        )

    def read(self) -> list[Line]:
        """Read everything, and end the log."""
        with ThreadPoolExecutor(1) as threads:
            text = threads.submit(self.read_some, None)
            self.telemetry.close()
            self.stream.close()
            return [json.loads(line) for line in text.result().splitlines()]

    def close(self) -> None:
        """Leave; what is not read then is lost."""
        os.close(self.reading)
        self.telemetry.close()
        self.stream.close()

    def read_some(self, most: int | None) -> bytes:
        """Read so much, or to the end; return all that was read so far."""
        while some := os.read(self.reading, most or LEAST):
            self._text += some
            if most:
                break
        return self._text


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def a_transition(number: int) -> Transition:
    return Transition(number, NOON, "handoff.queued", UUID(int=7), 0, "ada", "u", "a", {})


def flush(pipe: Pipe, *, within: timedelta) -> bool:
    return asyncio.run(pipe.telemetry.flush(within=within))


def test_telling_does_not_wait_for_a_reader(pipe: Pipe) -> None:
    began = time.monotonic()
    for _ in range(3000):
        pipe.telemetry.emit(ListenerLost("x"))

    assert time.monotonic() - began < 5
    assert not flush(pipe, within=AT_ONCE)
    assert pipe.telemetry.stuck_for >= AT_ONCE


def test_a_log_that_is_read_is_not_stuck(pipe: Pipe) -> None:
    pipe.telemetry.emit(ListenerLost("x"))

    assert flush(pipe, within=SOON)
    assert pipe.telemetry.stuck_for == timedelta(0)
    assert pipe.telemetry.lost == 0


def test_a_returning_reader_gets_the_lines_in_order_and_is_told_how_many_are_missing(
    pipe: Pipe,
) -> None:
    for number in range(3000):
        pipe.telemetry.emit(ListenerLost(str(number)))
    missing = pipe.telemetry.lost

    lines = pipe.read()

    assert 0 < missing < 2000
    assert [line["reason"] for line in lines[:-1]] == [str(n) for n in range(3000 - missing)]
    assert (lines[-1]["event"], lines[-1]["lines"]) == ("log.dropped", missing)


def test_a_transition_is_never_dropped_for_want_of_room(pipe: Pipe) -> None:
    for number in range(2000):
        pipe.telemetry.emit(ListenerLost("x"))
        pipe.telemetry.emit(a_transition(number))

    lines = pipe.read()

    told = [line["event_number"] for line in lines if "event_number" in line]
    assert told == list(range(2000))
    assert pipe.telemetry.unwritten == 0
    assert pipe.telemetry.lost > 0


def test_a_flush_waits_for_the_reader(pipe: Pipe) -> None:
    for number in range(200):
        pipe.telemetry.emit(a_transition(number))

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(flush, pipe, within=SOON)
        pipe.read_some(LEAST)
        assert not waiting.done()
        lines = pipe.read()

        assert waiting.result()
    assert lines[-1]["event_number"] == 199


def test_after_a_flush_the_lines_are_in_the_hands_of_the_system(pipe: Pipe) -> None:
    for number in range(10):
        pipe.telemetry.emit(a_transition(number))

    assert flush(pipe, within=SOON)

    assert pipe.read_some(LEAST).count(b"\n") == 10


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing() -> None:
    pipe = Pipe(blocking=False)
    for number in range(1000):
        pipe.telemetry.emit(a_transition(number))

    lines = pipe.read()

    assert [line["event_number"] for line in lines] == list(range(1000))
    assert pipe.telemetry.lost == 0


def test_lines_from_several_threads_are_whole(pipe: Pipe) -> None:
    with ThreadPoolExecutor(4) as threads:
        for number in range(400):
            threads.submit(pipe.telemetry.emit, a_transition(number))

    lines = pipe.read()

    assert sorted(line["event_number"] for line in lines) == list(range(400))


def test_lines_lost_to_a_closed_pipe_count_as_unwritten() -> None:
    pipe = Pipe()
    os.close(pipe.reading)
    pipe.telemetry.emit(a_transition(1))
    assert flush(pipe, within=SOON)
    pipe.telemetry.emit(a_transition(2))
    assert flush(pipe, within=SOON)

    assert pipe.telemetry.unwritten == 2

    pipe.telemetry.close()
    pipe.stream.close()


def test_what_is_told_after_the_end_is_lost_and_does_no_harm(pipe: Pipe) -> None:
    pipe.telemetry.close()

    pipe.telemetry.emit(ListenerLost("x"))

    assert pipe.telemetry.lost == 1


# --- programs -------------------------------------------------------------------------------------

BEGIN = """
import resource, signal, sys
from coordinator.core.events import Level, ListenerLost
from coordinator.telemetry import configure
t = configure(format='json', level=Level.INFO, stream=sys.stdout, service_version='1', instance='i')
"""


def test_a_program_whose_log_nobody_reads_ends_all_the_same() -> None:
    """Also with threads that wait in a write: a lock held at the exit would be fatal."""
    program = BEGIN + "for _ in range(5000): t.emit(ListenerLost('x' * 100))\nt.close()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.wait(timeout=30) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_a_line_that_was_cut_by_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    """The limit on a file's size stands for the full disk."""
    program = BEGIN + (
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))\n"
        "import anyio, datetime\n"
        "soon = datetime.timedelta(seconds=10)\n"
        "async def flush(): assert await t.flush(within=soon)\n"
        "for n in range(10): t.emit(ListenerLost(str(n)))\n"
        "anyio.run(flush)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "t.emit(ListenerLost('after'))\n"
        "t.close()\n"
        "print(t.unwritten, file=sys.stderr)\n"
    )
    log = tmp_path / "log"
    with log.open("wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, check=True
        )

    texts = log.read_text().splitlines()
    assert len(texts[-3]) < len(texts[0])
    lines = [json.loads(text) for text in [*texts[:-3], *texts[-2:]]]
    missing = int(done.stderr)
    assert [line.get("reason") for line in lines] == [*map(str, range(10 - missing)), "after", None]
    assert (lines[-1]["event"], lines[-1]["lines"]) == ("log.dropped", missing)
