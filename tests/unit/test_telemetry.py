"""How events become log lines, and what never does."""

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.errors import ConfigError
from coordinator.core.events import (
    AmnestyGranted,
    ConfigRejected,
    DaemonDraining,
    DaemonReloaded,
    Event,
    Level,
    ListenerLost,
    PassCompleted,
    PassFailed,
)
from coordinator.core.transitions import Transition
from coordinator.telemetry import LogFormat, Telemetry, configure
from coordinator.telemetry.events_page import page
from coordinator.telemetry.wording import plain, without_secrets

ROOT = Path(__file__).parents[2]
SOON = timedelta(seconds=10)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Log(io.StringIO):
    """A stream that remembers, and may pass for a terminal."""

    telemetry: Telemetry | None = None

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def getvalue(self) -> str:
        if self.telemetry is not None:
            assert asyncio.run(self.telemetry.flush(within=SOON))
        return super().getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def telemetry(log: Log) -> Iterator[Telemetry]:
    telemetry = begin(log)
    yield telemetry
    telemetry.close()


def begin(
    log: io.StringIO, *, format: LogFormat = "auto", level: Level = Level.INFO, color: bool = True
) -> Telemetry:
    telemetry = configure(
        format=format,
        level=level,
        stream=log,
        service_version="1.2.3",
        instance="host-7",
        color=color,
    )
    if isinstance(log, Log):
        log.telemetry = telemetry
    return telemetry


def a_transition(**detail: object) -> Transition:
    return Transition(41, NOON, "handoff.failed", UUID(int=7), 3, "trae", "ada", "psql", detail)


def test_a_line_says_when_what_and_who(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit(DaemonDraining("SIGTERM", grace_s=10.0))

    [line] = log.lines
    assert datetime.fromisoformat(line.pop("timestamp").removesuffix("Z")).tzinfo is None
    assert line == {
        "level": "info",
        "event": "daemon.draining",
        "logger": "coordinator",
        "service.name": "coordinator",
        "service.version": "1.2.3",
        "service.instance.id": "host-7",
        "reason": "SIGTERM",
        "grace_s": 10.0,
    }


def test_a_line_begins_with_what_readers_look_for(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit(ListenerLost("timeout"))

    assert list(log.lines[0])[:4] == ["timestamp", "level", "event", "logger"]
    assert log.lines[0]["timestamp"].endswith("Z")


def test_a_transition_is_one_line_with_its_number(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit(a_transition(reason="deadline", held_s=1.5, error="the key is hunter2"))

    [line] = log.lines
    assert line["level"] == "error"
    assert line["event_number"] == 41
    assert line["handoff_id"] == str(UUID(int=7))
    assert line["occurred_at"] == "2026-11-22T12:00:00Z"
    assert "hunter2" not in log.getvalue()


def test_content_is_logged_when_asked_for(telemetry: Telemetry, log: Log) -> None:
    telemetry.log_content = True

    telemetry.emit(a_transition(error="boom"))

    assert log.lines[0]["detail"] == {"error": "boom"}


def test_what_is_too_quiet_is_not_logged_but_still_told(telemetry: Telemetry, log: Log) -> None:
    heard: list[Event] = []
    telemetry.subscribe(heard.append)

    telemetry.emit(PassCompleted("sweep", took_s=0.01))

    assert log.getvalue() == ""
    assert heard == [PassCompleted("sweep", took_s=0.01)]


def test_the_level_may_change_while_running(telemetry: Telemetry, log: Log) -> None:
    telemetry.level = Level.DEBUG

    telemetry.emit(PassCompleted("sweep", took_s=0.01))

    assert log.lines[0]["event"] == "pass.completed"


def test_a_reader_that_has_ended_hears_no_more(telemetry: Telemetry) -> None:
    heard: list[Event] = []
    end = telemetry.subscribe(heard.append)

    end()
    telemetry.emit(ListenerLost("timeout"))

    assert heard == []


def test_times_and_lists_are_written_plainly(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit(AmnestyGranted("take-over", until=NOON.astimezone(timezone(timedelta(hours=2)))))
    telemetry.emit(DaemonReloaded(applied=("log_level",), needs_restart=()))

    assert log.lines[0]["until"] == "2026-11-22T12:00:00Z"
    assert log.lines[1]["applied"] == ["log_level"]


def an_error(text: str = "no route") -> Exception:
    try:
        raise ValueError(text) from OSError("cable unplugged")
    except ValueError as error:
        return error


def test_an_error_is_told_with_type_text_and_stack(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit(PassFailed("sweep", error_type="Other"), error=an_error())

    [line] = log.lines
    assert line["error.type"] == "Other"
    assert line["error.message"] == "no route"
    assert "OSError: cable unplugged" in line["exception.stacktrace"]
    assert "which led to" in line["exception.stacktrace"]
    assert line["exception.stacktrace"].endswith("ValueError: no route")


def test_the_errors_of_a_task_group_are_all_told(telemetry: Telemetry, log: Log) -> None:
    group = ExceptionGroup("two tasks failed", [KeyError("a"), an_error()])

    telemetry.emit(ConfigRejected("x"), error=group)

    stack = log.lines[0]["exception.stacktrace"]
    assert "within it, 2 of 2" in stack
    assert "KeyError: 'a'" in stack


def test_what_postgresql_quotes_of_a_row_is_not_told(telemetry: Telemetry, log: Log) -> None:
    error = an_error("a check failed\nDETAIL:  Failing row contains (secret plan).")

    telemetry.emit(PassFailed("sweep", error_type="CheckViolation"), error=error)

    assert "secret plan" not in log.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://ada:hunter2@db:5432/x",
        "cannot reach postgres://:hunter2@db",
        "raw at sign postgresql://ada:hunter2@hunter2@db/x",
        "host=db password=hunter2 user=ada",
        "host=db password = 'hunter2 hunter2'",
        "postgresql://db/x?user=ada&password=hunter2",
    ],
)
def test_the_password_of_a_dsn_is_never_logged(text: str) -> None:
    assert "hunter2" not in without_secrets(text)
    assert "db" in without_secrets(text)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (timedelta(milliseconds=1500), 1.5),
        (Level.DEBUG, "debug"),
        (datetime(2026, 11, 22, 12), "2026-11-22T12:00:00"),  # noqa: DTZ001
        (float("nan"), "nan"),
        (Path("/run/c.sock"), "/run/c.sock"),
    ],
)
def test_a_value_is_written_plainly(value: object, written: object) -> None:
    assert plain(value) == written


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.uuids()),
        max_leaves=8,
    )
)
def test_any_value_can_be_written_as_json(value: object) -> None:
    json.dumps(plain(value), allow_nan=False)


def test_what_libraries_log_becomes_a_line_of_ours(telemetry: Telemetry, log: Log) -> None:
    logging.getLogger("asyncio").warning("took %.1f seconds", 0.3)

    [line] = log.lines
    assert (line["event"], line["level"]) == ("log.relayed", "warning")
    assert (line["logger"], line["message"]) == ("asyncio", "took 0.3 seconds")


def test_the_pools_traceback_is_cut_to_one_line(telemetry: Telemetry, log: Log) -> None:
    logging.getLogger("asyncpg.pool").error("refill failed", exc_info=an_error())
    logging.getLogger("asyncio").error("task failed", exc_info=an_error())

    pool, other = log.lines
    assert pool["error.type"] == "ValueError"
    assert "exception.stacktrace" not in pool
    assert "exception.stacktrace" in other


def test_a_library_that_logs_too_quietly_is_not_heard(telemetry: Telemetry, log: Log) -> None:
    logging.getLogger("asyncio").debug("using selector")

    assert log.getvalue() == ""


def test_libraries_are_heard_at_the_level_of_the_moment(telemetry: Telemetry, log: Log) -> None:
    telemetry.level = Level.DEBUG
    logging.getLogger("asyncio").debug("using selector")
    telemetry.level = Level.ERROR
    logging.getLogger("asyncio").warning("slow")

    assert [line["message"] for line in log.lines] == ["using selector"]


def test_a_library_with_a_broken_message_is_heard_all_the_same(
    telemetry: Telemetry, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    # pytest's own handlers make a broken message an error.
    ours = [handler for handler in root.handlers if "coordinator" in type(handler).__module__]
    monkeypatch.setattr(root, "handlers", ours)

    logging.getLogger("asyncio").warning("%d apples", "no")

    assert log.lines[0]["message"] == "%d apples"


def test_configuring_anew_does_not_double_the_lines(telemetry: Telemetry, log: Log) -> None:
    other = begin(Log())

    logging.getLogger("asyncio").warning("once")
    other.close()

    assert log.getvalue() == ""


def test_a_terminal_gets_lines_for_people() -> None:
    log = Log(terminal=True)
    telemetry = begin(log, color=False)

    telemetry.emit(ListenerLost("timeout"))
    telemetry.close()

    assert "listener.lost" in log.getvalue()
    assert "reason=timeout" in log.getvalue()
    assert "service" not in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_a_terminal_gets_colours_unless_told_otherwise() -> None:
    log = Log(terminal=True)
    telemetry = begin(log)

    telemetry.emit(ListenerLost("timeout"))
    telemetry.close()

    assert "\x1b" in log.getvalue()


def test_pretty_lines_in_a_file_have_no_colours(log: Log) -> None:
    telemetry = begin(log, format="pretty")

    telemetry.emit(ConfigRejected("x"), error=an_error())
    telemetry.close()

    assert "\x1b" not in log.getvalue()
    assert "ValueError: no route" in log.getvalue()


def test_a_name_cannot_send_commands_to_the_operators_terminal() -> None:
    log = Log(terminal=True)
    telemetry = begin(log, color=False)

    telemetry.emit(ListenerLost("\x1b[2Jgone"))
    telemetry.close()

    assert "\x1b" not in log.getvalue()


def test_a_narrow_encoding_costs_no_line() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    telemetry = configure(
        format="pretty", level=Level.INFO, stream=stream, service_version="1", instance="i"
    )

    telemetry.emit(ListenerLost("café"))
    telemetry.close()
    stream.seek(0)

    assert "caf\\xe9" in stream.read()


class Full(Log):
    """A stream on a full disk, until there is room again."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lines_lost_to_a_full_disk_are_counted_and_told() -> None:
    log = Full()
    telemetry = begin(log)

    telemetry.emit(ListenerLost("one"))
    telemetry.emit(ListenerLost("two"))
    assert log.lines == []
    log.full = False
    telemetry.emit(ListenerLost("three"))
    telemetry.close()

    assert [line.get("reason") for line in log.lines] == ["three", None]
    assert (log.lines[1]["event"], log.lines[1]["lines"]) == ("log.dropped", 2)


def test_a_reader_that_goes_away_ends_neither_the_process_nor_its_good_name() -> None:
    program = (
        "import sys\n"
        "from coordinator.core.events import Level, ListenerLost\n"
        "from coordinator.telemetry import configure\n"
        "sys.stdin.read()\n"
        "t = configure(format='json', level=Level.INFO, stream=sys.stdout,"
        " service_version='1', instance='i')\n"
        "for _ in range(10_000): t.emit(ListenerLost('x' * 100))\n"
        "print('the end', file=sys.stderr)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.close()

    with process:
        _, complaints = process.communicate(timeout=60)

    assert (process.returncode, complaints) == (0, "the end\n")


def test_our_errors_are_told_whole_in_one_line(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit(ConfigRejected("x"), error=ConfigError("a is wrong", "b", "Do c."))

    assert log.lines[0]["error.message"] == "a is wrong. b. Do c."


def test_the_committed_page_of_events_is_the_generated_one() -> None:
    committed = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")

    assert committed == page(), "run: python -m coordinator.telemetry.events_page > docs/events.md"
