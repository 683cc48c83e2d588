"""`coordinator demo` as its audience runs it: it proves a recovery, and leaves nothing behind."""

import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest

from coordinator.core.transitions import Transition
from coordinator.demo.proof import Claim, faults
from tests.support.processes import RunningProcess, coordinator
from tests.support.waiting import eventually

_LONGEST = timedelta(seconds=20)
"""What the demo may take, from the command to the prompt."""
_PATIENCE = timedelta(seconds=60)
"""What it may take where time is not the question."""
_NOTHING: Mapping[str, str] = MappingProxyType({})
_SOMEBODY_ELSES = {
    "DATABASE_URL": "postgresql://nobody@203.0.113.1/production",
    "PGHOST": "203.0.113.1",
    "COORDINATOR_STALE_AFTER": "1h",
    "COORDINATOR_TYPO": "1",
    "NOTIFY_SOCKET": "/nowhere",
}
"""An environment that is not meant for the demo."""
_PLAN, _BUILD, _REVIEW, _FIX, _AGAIN = (UUID(int=number) for number in range(1, 6))
_CLAIM = Claim(root_id=_PLAN, crashed=_BUILD, victim="ada")


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the demo keeps its temporary files: a short path, with a space, and empty."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        place = Path(directory, "a place")
        place.mkdir()
        yield place


async def test_the_demo_shows_a_table_and_a_tree_and_ends_well_within_20_seconds(
    place: Path,
) -> None:
    async with _demo(place, env=_SOMEBODY_ELSES) as demo:
        began = time.monotonic()

        assert await demo.wait(within=_LONGEST) == 0, demo

        assert time.monotonic() - began < _LONGEST.total_seconds()
        assert "HANDOFF" in demo.stdout, demo
        assert 'claude → implementer  "Implement slugify"  succeeded' in demo.stdout, demo
        assert "attempt 1: antigravity" in demo.stdout, demo
        assert "attempt 2: antigravity" in demo.stdout, demo
        assert "handoff.taken_back" in demo.stdout + demo.stderr, demo
    assert _left_of(place) == []


@pytest.mark.slow
async def test_with_json_each_line_of_stdout_is_an_object_and_the_daemons_log_is_among_them(
    place: Path,
) -> None:
    async with _demo(place, "--json") as demo:
        proven = await demo.seen("demo.proven", within=_PATIENCE)

        assert await demo.wait() == 0, demo
        assert all(line.startswith("{") for line in demo.stdout.splitlines()), demo
        taken_back = demo.logged("handoff.taken_back", handoff_id=proven["crashed"], attempt=1)
        assert [line["reason"] for line in taken_back] == ["lapsed"]
        assert demo.logged("handoff.succeeded", handoff_id=proven["crashed"], attempt=2)
        assert len(demo.logged("agent.left")) == 3, "the log tells of the end as well"


@pytest.mark.slow
async def test_the_agent_that_is_said_to_be_killed_is_killed(place: Path) -> None:
    async with _demo(place, "--json") as demo:
        started = await demo.seen("demo.started", within=_PATIENCE)
        killed = await demo.seen("demo.killed", within=_PATIENCE)

        assert killed["pid"] == started["processes"]["antigravity"]
        assert not Path("/proc", str(killed["pid"])).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_signal_in_the_middle_ends_it_and_leaves_nothing(
    place: Path, sign: signal.Signals, code: int
) -> None:
    async with _demo(place, "--json") as demo:
        await demo.seen("demo.killed", within=_PATIENCE)

        demo.kill(sign)

        assert await demo.wait() == code, demo
    assert _left_of(place) == []


@pytest.mark.slow
async def test_a_killed_demo_takes_server_daemon_and_agents_with_it(place: Path) -> None:
    async with _demo(place, "--json") as demo:
        await demo.seen("demo.killed", within=_PATIENCE)

        demo.kill(signal.SIGKILL)

        await _until_nothing_runs(place)


@pytest.mark.slow
async def test_a_daemon_that_dies_ends_the_demo_with_the_reason(place: Path) -> None:
    async with _demo(place, "--json") as demo:
        started = await demo.seen("demo.started", within=_PATIENCE)

        os.kill(started["processes"]["coordinator run"], signal.SIGKILL)

        assert await demo.wait() == 70, demo
        assert "the daemon" in demo.stderr, demo
        assert "exit code -9" in demo.stderr, demo
    assert _left_of(place) == []


@pytest.mark.slow
async def test_with_forever_it_runs_on_until_ctrl_c(place: Path) -> None:
    async with _demo(place, "--json", "--forever") as demo:
        invitation = await demo.seen("demo.open", within=_PATIENCE)
        env = {"DATABASE_URL": invitation["dsn"]}
        visit = ("--from", "you", "--to", "planner", "--task", "Plan it once more")
        async with coordinator("handoffs", "create", *visit, env=env) as visitor:
            assert await visitor.wait() == 0, visitor

        # Five handoffs of the show, and five that the visitor's became.
        await demo.seen("handoff.succeeded", count=10, within=_PATIENCE)
        demo.kill(signal.SIGINT)

        assert await demo.wait() == 0, demo
    assert _left_of(place) == []


async def test_without_a_server_it_says_where_one_comes_from(place: Path) -> None:
    async with _demo(place, "--pg-bin", str(place)) as demo:
        assert await demo.wait() == 78, demo

        assert "no PostgreSQL server" in demo.stderr, demo
    assert _left_of(place) == []


async def test_a_directory_that_holds_something_is_refused(place: Path) -> None:
    (place / "precious").touch()

    async with _demo(place, "--data-dir", str(place)) as demo:
        assert await demo.wait() == 78, demo

        assert "is not empty" in demo.stderr, demo
    assert _left_of(place) == [str(place / "precious")]


def test_the_proof_accepts_the_show_as_it_should_be() -> None:
    assert faults(_numbered(_good_show()), _CLAIM) == []


@pytest.mark.parametrize(
    ("falsify", "complaint"),
    [
        (lambda show: [e for e in show if e.event != "agent.blocked"], "was found stale"),
        (lambda show: [e for e in show if e.event != "agent.replaced"], "a new life registered"),
        (lambda show: [e for e in show if e.event != "handoff.taken_back"], "was taken back"),
        (lambda show: show[:-1], "succeeded 0 times"),
        (lambda show: [*show, show[-1]], "succeeded 2 times"),
        (lambda show: [e for e in show if e.handoff_id != _AGAIN], "4 handoffs, not 5"),
        (lambda show: [*show, _event("handoff.dispatched", _FIX, 1, "ada")], "dispatched 2 times"),
        (lambda show: [*show, _event("handoff.dispatched", _FIX, 2, "ada")], "took 2 attempts"),
        (lambda show: [_in_one_life(e) for e in show], "to the same life"),
        (lambda show: _with_second_work(show), "a second handoff at once"),
    ],
)
def test_the_proof_notices_a_show_that_went_wrong(
    falsify: Callable[[list[Transition]], list[Transition]], complaint: str
) -> None:
    found = faults(_numbered(falsify(_good_show())), _CLAIM)

    assert any(complaint in fault for fault in found), found


@asynccontextmanager
async def _demo(
    place: Path, *arguments: str, env: Mapping[str, str] = _NOTHING
) -> AsyncIterator[RunningProcess]:
    env = {"TMPDIR": str(place), **env}
    async with coordinator("demo", *arguments, env=env, cwd=place) as demo:
        yield demo
        # Otherwise its files would vanish below a server that still shuts down.
        demo.kill(signal.SIGTERM)
        await demo.wait()


def _left_of(place: Path) -> list[str]:
    return [*map(str, place.iterdir()), *_processes_of(place)]


async def _until_nothing_runs(place: Path) -> None:
    async def nothing_runs() -> bool:
        return _processes_of(place) == []

    await eventually(nothing_runs)


def _processes_of(place: Path) -> list[str]:
    """Who works in this directory or was told of it: the environment of each child names it."""
    return [
        f"{process.name}: {_read(process / 'cmdline')}"
        for process in Path("/proc").iterdir()
        if process.name.isdecimal()
        and any(str(place) in _read(process / name) for name in ("cmdline", "environ", "cwd"))
    ]


def _read(file: Path) -> str:
    try:
        return os.readlink(file) if file.name == "cwd" else file.read_text(errors="replace")
    except OSError:  # it has ended, or belongs to somebody else
        return ""


def _good_show() -> list[Transition]:
    return [
        *_handed_on(_PLAN, "eve", 1),
        _event("handoff.queued", _BUILD, 0, None),
        _event("handoff.dispatched", _BUILD, 1, "ada", incarnation="first"),
        _event("agent.blocked", None, None, "ada", reason="stale"),
        _event("handoff.taken_back", _BUILD, 1, "ada", reason="lapsed"),
        _event("agent.replaced", None, None, "ada"),
        _event("handoff.dispatched", _BUILD, 2, "ada", incarnation="second"),
        _event("handoff.succeeded", _BUILD, 2, "ada"),
        *_handed_on(_REVIEW, "bob", 1),
        *_handed_on(_FIX, "ada", 1),
        *_handed_on(_AGAIN, "bob", 1),
    ]


def _handed_on(handoff_id: UUID, agent: str, attempt: int) -> Iterator[Transition]:
    yield _event("handoff.queued", handoff_id, 0, None)
    yield _event("handoff.dispatched", handoff_id, attempt, agent, incarnation=agent)
    yield _event("handoff.succeeded", handoff_id, attempt, agent)


def _event(
    name: str, handoff_id: UUID | None, attempt: int | None, agent: str | None, **detail: object
) -> Transition:
    if handoff_id is not None:
        detail["root_id"] = str(_PLAN)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Transition(0, moment, name, handoff_id, attempt, agent, None, None, detail)


def _in_one_life(event: Transition) -> Transition:
    return replace(event, detail={**event.detail, "incarnation": "the only one"})


def _with_second_work(show: Sequence[Transition]) -> list[Transition]:
    """Bob gets the second review before he has settled the first."""
    begun = [e for e in show if e.handoff_id == _AGAIN and e.event == "handoff.dispatched"]
    rest = [e for e in show if e not in begun]
    settled = next(e for e in rest if (e.handoff_id, e.event) == (_REVIEW, "handoff.succeeded"))
    at = rest.index(settled)
    return [*rest[:at], *begun, *rest[at:]]


def _numbered(show: Sequence[Transition]) -> list[Transition]:
    return [replace(event, sequence=number) for number, event in enumerate(show, start=1)]
