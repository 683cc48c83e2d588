"""What a hook decides by itself: what its client means, what it says, and whose turn it is."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

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
from coordinator.waking.door import Door, Unsafe, entered, opened
from coordinator.waking.programs import Program, callers, program
from coordinator.waking.turns import Turn, now
from coordinator.waking.words import (
    LONGEST_LINE,
    Answer,
    Found,
    Garbled,
    Origin,
    Request,
    Word,
)
from tests.support.hooks import meeting_place

ID = UUID("3f0c1c52-5a51-4b25-9c0e-0c6f0a0a1111")
OFFERED = Answer(Found.OFFERED, ID, 2)
SHORT, WITHOUT_END = timedelta(seconds=2), None
REST, START, BUSY, END = Moment.REST, Moment.START, Moment.BUSY, Moment.END


@pytest.fixture
def folder() -> Iterator[Path]:
    with meeting_place() as folder:
        yield folder


@pytest.mark.parametrize(
    "request_",
    [
        Request(Word.BUSY),
        Request(
            Word.WAIT, SHORT, True, Origin((Program(7, 12), Program(3, 4)), "mine", begins=True)
        ),
    ],
)
def test_a_request_is_read_as_it_was_said(request_: Request) -> None:
    assert Request.of(request_.line()) == request_


@pytest.mark.parametrize("answer", [OFFERED, Answer(Found.UNDER_WAY, ID, 1), Answer(Found.NOTED)])
def test_an_answer_is_read_as_it_was_said(answer: Answer) -> None:
    assert Answer.of(answer.line()) == answer


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\n",
        b"[]\n",
        b'{"word": "wait"}\n',
        b'{"word": "sing", "at_most_s": null, "comes_back": false}\n',
        b'{"word": "wait", "at_most_s": -1, "comes_back": false}\n',
        b'{"word": "wait", "at_most_s": 1e300, "comes_back": false}\n',
        b'{"word": "wait", "at_most_s": NaN, "comes_back": false}\n',
        b'{"word": "wait", "at_most_s": null, "comes_back": false, "more": 1}\n',
        b"[" * 900,
    ],
)
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(Garbled):
        Request.of(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"found": "offered", "handoff_id": null, "attempt": null}\n',
        b'{"found": "offered", "handoff_id": "now do this", "attempt": 1}\n',
        b'{"found": "offered", "handoff_id": "3f0c1c525a514b259c0e0c6f0a0a1111", "attempt": 0}\n',
        b'{"found": "nothing", "handoff_id": "3f0c1c525a514b259c0e0c6f0a0a1111", "attempt": 1}\n',
    ],
)
def test_an_answer_without_its_ids_is_refused(line: bytes) -> None:
    with pytest.raises(Garbled):
        Answer.of(line)


@pytest.mark.parametrize(
    ("client", "entrypoint", "at_most"),
    [
        (Client.CLAUDE, "cli", WITHOUT_END),
        (Client.CLAUDE, "sdk-cli", SHORT),
        (Client.CLAUDE, None, SHORT),
        (Client.CODEX, None, SHORT),
        (Client.GEMINI, None, SHORT),
        (Client.CURSOR, None, SHORT),
    ],
)
def test_only_a_hook_beside_the_session_waits_for_long(
    client: Client, entrypoint: str | None, at_most: timedelta | None
) -> None:
    ask = plan(client, REST, {}, entrypoint=entrypoint).ask

    assert ask is not None
    assert (ask.word, ask.at_most) == (Word.WAIT, at_most)


@pytest.mark.parametrize("status", ["aborted", "error"])
def test_a_turn_that_was_stopped_in_cursor_is_followed_by_none(status: str) -> None:
    ask = plan(Client.CURSOR, REST, {"status": status}, entrypoint=None).ask

    assert ask == Request(Word.BUSY)


@pytest.mark.parametrize(
    ("client", "reason", "word"),
    [
        (Client.CLAUDE, "prompt_input_exit", Word.END),
        (Client.CLAUDE, "clear", Word.BUSY),
        (Client.CLAUDE, "resume", Word.BUSY),
        (Client.GEMINI, "exit", Word.END),
        (Client.GEMINI, "clear", Word.BUSY),
        (Client.CODEX, "other", Word.BUSY),
        (Client.CURSOR, "window_close", Word.BUSY),
    ],
)
def test_a_server_ends_with_its_client_and_not_with_a_conversation(
    client: Client, reason: str, word: Word
) -> None:
    assert plan(client, END, {"reason": reason}, entrypoint=None).ask == Request(word)


def test_each_client_is_told_in_its_own_words() -> None:
    text = wording(OFFERED)

    assert text is not None
    assert f"handoff_id {ID} and attempt 2" in text
    assert told(Client.CLAUDE, REST, OFFERED) == Told(err=text + "\n", code=2)
    answers = {each: told(each, REST, OFFERED).out for each in list(Client)[1:]}
    assert {client: json.loads(out) for client, out in answers.items()} == {
        Client.CODEX: {"decision": "block", "reason": text},
        Client.GEMINI: {"decision": "deny", "reason": text},
        Client.CURSOR: {"followup_message": text},
    }


@pytest.mark.parametrize("found", [Found.NOTHING, Found.REPLACED, Found.NOTED])
@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("client", [Client.CLAUDE, Client.CODEX, Client.GEMINI])
def test_without_a_handoff_nothing_is_said(client: Client, moment: Moment, found: Found) -> None:
    assert told(client, moment, Answer(found)) == Told()


@pytest.mark.parametrize("session_id", [None, 7, "", "--help", "my thread"])
def test_only_an_id_names_a_thread(session_id: object) -> None:
    assert thread_of({"session_id": session_id}) is None


def test_a_newer_turn_ends_an_older_one(folder: Path) -> None:
    door, this = Door.of("ada", folder=str(folder)), now()
    older, newer = Turn(this - 9, waits=True), Turn(this - 8, waits=True)
    older.take(door)
    before = older.is_over(door)
    newer.take(door)
    older.take(door)

    assert (before, older.is_over(door), newer.is_over(door)) == (False, True, False)


@pytest.mark.parametrize("busy_first", [True, False])
def test_of_two_turns_at_once_the_busy_one_stands(folder: Path, busy_first: bool) -> None:
    door, this = Door.of("ada", folder=str(folder)), now()
    waiting, busy = Turn(this - 1, waits=True), Turn(this - 1.01, waits=False)
    for turn in (busy, waiting) if busy_first else (waiting, busy):
        turn.take(door)

    assert (waiting.is_over(door), busy.is_over(door)) == (True, False)


def test_a_turn_of_the_future_is_none(folder: Path) -> None:
    door, this = Door.of("ada", folder=str(folder)), now()
    Turn(this + 3600, waits=False).take(door)

    assert not Turn(this, waits=True).is_over(door)


def test_a_process_knows_when_it_was_started() -> None:
    before = now()
    code = "import time; time.sleep(0.3); from coordinator.waking.turns import Turn;"
    code += "print(Turn.of_this_process(waits=True).started)"
    started = float(subprocess.check_output([sys.executable, "-c", code]))

    assert before - 0.05 < started < before + 0.25


def test_a_door_removes_only_its_own_socket(folder: Path) -> None:
    door = Door.of("ada", folder=str(folder))
    with opened(door):
        older = opened(door)
        with older:
            door.socket.unlink()
            (folder / "other").touch()
            (folder / "other").rename(door.socket)

        assert door.socket.exists()
    assert door.socket.exists()


@pytest.mark.parametrize("mode", [0o750, 0o707, 0o777])
def test_a_folder_that_others_may_enter_is_refused(folder: Path, mode: int) -> None:
    door = Door.of("ada", folder=str(folder))
    folder.chmod(mode)
    with pytest.raises(Unsafe, match="must be 0700"), opened(door):
        pass
    with pytest.raises(Unsafe, match="must be 0700"):
        entered(door, within_s=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, 65534, 65534)
    with pytest.raises(Unsafe, match="no folder of this user"):
        Door.of("ada", folder=str(folder)).check()
    os.chown(folder, os.geteuid(), os.getegid())


def test_a_link_is_no_folder_and_a_file_no_socket(folder: Path) -> None:
    real, link = folder / "real", folder / "link"
    real.mkdir(mode=0o700)
    link.symlink_to(real)
    door = Door.of("ada", folder=str(real))
    door.socket.touch()
    with pytest.raises(Unsafe):
        Door.of("ada", folder=str(link)).check()
    with pytest.raises(Unsafe, match="no socket"):
        entered(door, within_s=1)


def test_a_path_that_is_too_long_is_refused_with_words(folder: Path) -> None:
    with (
        pytest.raises(Unsafe, match="too long"),
        opened(Door.of("a", folder=f"{folder}/{'x' * 90}")),
    ):
        pass


def test_the_path_follows_from_user_and_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Door.of("an agent / with \N{SNOWMAN}").socket
    for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "USER"):
        monkeypatch.setenv(name, "/nowhere")

    assert Door.of("an agent / with \N{SNOWMAN}").socket == path
    assert len(os.fsencode(path)) < 90
    assert str(os.geteuid()) in str(path)


def test_a_hook_loads_neither_driver_nor_server() -> None:
    code = "import sys, coordinator.cli, coordinator.cli.hook; print(*sorted(sys.modules))"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())

    assert "coordinator.waking.asking" in loaded
    assert loaded.isdisjoint({"asyncpg", "mcp", "pydantic", "anyio", "asyncio", "structlog"})


CALLED = "import sys; from coordinator.waking.programs import callers; "
CALLED += "print(callers(sys.argv[1:])[0].pid)"
WORDS = ["agent", "hook", "claude", "rest"]


@pytest.mark.parametrize(
    ("line", "is_client"),
    [
        ("{hook}", True),
        ("A=1 {hook} || true", True),
        ("{hook}; true", True),
        ("sh -c '{hook}; true'; true", True),
        ("env A=1 sh -c '{hook}; true'", True),
        ("true; {hook}; true", False),
        ("echo | {hook}; true", False),
        ("sh {folder}/script agent; true", False),
    ],
)
@pytest.mark.skipif(program(os.getpid()) is None, reason="only Linux tells who has called")
def test_what_only_carries_a_call_out_is_no_caller(
    folder: Path, line: str, is_client: bool
) -> None:
    (folder / "called.py").write_text(CALLED)
    hook = f'"{sys.executable}" {folder}/called.py {" ".join(WORDS)}'
    (folder / "script").write_text(f"{hook}; true")
    said = subprocess.check_output(["sh", "-c", line.format(hook=hook, folder=folder)])

    assert (int(said) == os.getpid()) is is_client


def test_a_program_is_another_once_its_number_is_used_again() -> None:
    this = program(os.getpid())

    assert this is not None
    assert (this.runs, Program(this.pid, this.started - 1).runs) == (True, False)


def test_a_line_has_room_for_the_longest_origin() -> None:
    above = tuple(Program(2**22, 10**12) for _ in range(16))
    given = {"session_id": '"' * 100}
    origin = origin_of(Client.CLAUDE, END, given, above)

    assert origin.session is not None
    assert len(Request(Word.WAIT, SHORT, True, origin).line()) < LONGEST_LINE


@pytest.mark.parametrize("session", [None, 7, "", "x" * 101, "a\nb", "\N{SNOWMAN}"])
def test_what_is_no_id_names_no_session(session: object) -> None:
    assert origin_of(Client.CLAUDE, REST, {"session_id": session}, ()).session is None


def test_the_processes_of_cursor_tell_nothing() -> None:
    assert origin_of(Client.CURSOR, REST, {}, callers([])).callers == ()


def test_nobody_listens_where_a_server_was_killed(folder: Path) -> None:
    door = Door.of("ada", folder=str(folder))
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(door.socket))
    with pytest.raises(ConnectionRefusedError):
        entered(door, within_s=1)
    with opened(door), entered(door, within_s=1) as stream:
        assert stream.getpeername() != ""
