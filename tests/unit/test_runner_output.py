"""What is kept of a command's output, and what of it is told as progress."""

import json

import pytest

from coordinator.agents.runner.capture import Capture, Written
from coordinator.agents.runner.last_line import LastLine, Stream
from coordinator.agents.runner.profiles import PROFILES


def test_a_short_output_is_kept_whole() -> None:
    capture = Capture(head=4, tail=4)
    for chunk in (b"ab", b"cdef", b"gh"):
        capture.add(chunk)

    assert capture.written() == Written("abcdefgh")


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_head_and_tail_are_kept_and_the_rest_is_counted(size: int) -> None:
    capture = Capture(head=4, tail=4)
    output = b"head" + b"." * 1000 + b"tail"
    for start in range(0, len(output), size):
        capture.add(output[start : start + size])

    assert capture.written() == Written("head\n[… 1000 bytes left out …]\ntail", 1000)


def test_memory_does_not_grow_with_the_output() -> None:
    capture = Capture(head=1000, tail=1000)
    for _ in range(1000):
        capture.add(b"x" * 1000)

    assert len(capture._tail) <= 3000
    assert capture.written().left_out == 998_000


def test_what_is_no_text_is_shown_as_such() -> None:
    capture = Capture(head=2, tail=2)
    capture.add("ä".encode() * 3 + b"\xff")

    written = capture.written()

    assert written.left_out == 3
    assert written.text.startswith("ä\n")
    assert written.text.endswith("\ufffd\ufffd")


def notes(profile: str, *chunks: bytes) -> list[str | None]:
    last = LastLine()
    stream = Stream(last, PROFILES[profile].note)
    taken = []
    for chunk in chunks:
        stream.add(chunk)
        taken.append(last.take())
    return taken


def test_the_last_whole_line_is_told_and_told_once() -> None:
    assert notes("plain", b"one\ntwo\nthr", b"ee", b"\n", b"") == ["two", None, "three", None]


def test_blank_lines_say_nothing() -> None:
    assert notes("plain", b"at work\n\n  \n") == ["at work"]


def test_a_note_is_one_short_line_without_escapes() -> None:
    told = notes("plain", b"\x1b[31m50 %\x1b[0m\rdone:\t\x1b]0;title\x07" + b"y" * 999 + b"\n")

    assert told == ["done: " + "y" * 194]


def test_a_line_without_end_is_not_kept() -> None:
    last = LastLine()
    stream = Stream(last, PROFILES["plain"].note)
    for _ in range(1000):
        stream.add(b"x" * 10_000)

    assert last.take() is None
    assert len(stream._rest) <= 4096


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    assert notes("plain", b"\xff\xfe\x00\n", b"fine\n") == ["\ufffd\ufffd", "fine"]


def test_a_client_that_prints_one_document_is_not_quoted() -> None:
    assert notes("claude", b'{"type": "result"}\n') == [None]
    assert notes("gemini", b'{"response": "x"}\n') == [None]


def test_codex_tells_what_it_says_and_runs() -> None:
    message = {"type": "item.completed", "item": {"type": "agent_message", "text": "I look"}}
    command = {"type": "item.started", "item": {"type": "command_execution", "command": "ls"}}

    told = notes(
        "codex",
        json.dumps(message).encode() + b"\n",
        json.dumps(command).encode() + b"\n",
        b'{"type": "turn.completed"}\n{"item": 3}\n[]\nnot json\n',
    )

    assert told == ["I look", "ls", None]
