"""How the end of a wrapped command decides about its handoff, profile by profile."""

import json
from typing import Any

import pytest

from coordinator.agents.runner.capture import Written
from coordinator.agents.runner.profiles import PROFILES
from coordinator.agents.runner.verdicts import (
    Decision,
    Failed,
    Ran,
    Succeeded,
    claude,
    codex,
    gemini,
    plain,
)
from coordinator.cli.agent import PROFILE_NAMES

CLAUDE = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "duration_ms": 2814,
    "num_turns": 3,
    "result": "The tests pass now.",
    "session_id": "0b1f",
    "total_cost_usd": 0.04,
    "usage": {"input_tokens": 12, "output_tokens": 8},
}
CODEX: list[dict[str, Any]] = [
    {"type": "thread.started", "thread_id": "0199"},
    {"type": "turn.started"},
    {"type": "item.started", "item": {"id": "item_0", "type": "command_execution"}},
    {
        "type": "item.completed",
        "item": {"id": "item_0", "type": "agent_message", "text": "I look."},
    },
    {
        "type": "item.completed",
        "item": {"id": "item_1", "type": "agent_message", "text": "It is done."},
    },
    {"type": "turn.completed", "usage": {"input_tokens": 10, "output_tokens": 5}},
]
GEMINI = {"session_id": "77", "response": "Renamed.", "stats": {"models": {}}}


def ended(code: int | None, out: str = "", err: str = "", *, number: int | None = None) -> Ran:
    return Ran(code, number, Written(out), Written(err))


def lines(events: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def failed(decision: Decision) -> str:
    assert isinstance(decision, Failed)
    assert not decision.retry
    return decision.reason


def test_the_command_line_offers_all_profiles() -> None:
    assert set(PROFILE_NAMES) == set(PROFILES)


@pytest.mark.parametrize(
    ("out", "result"),
    [
        ('{"verdict": "fine"}\n', {"verdict": "fine"}),
        ("[1, 2]", [1, 2]),
        ("42", 42),
        ("null", None),
        ("", None),
        (" \n", None),
        ("all good\n", {"output": "all good\n"}),
        ('{"a": 1} and more', {"output": '{"a": 1} and more'}),
        ("NaN", {"output": "NaN"}),
        ("1e999", {"output": "1e999"}),
        ("a\0b", {"output": "a\ufffdb"}),
        (r'"\u0000"', {"output": r'"\u0000"'}),
        (r'"\ud800"', {"output": r'"\ud800"'}),
        ("[" * 100_000, {"output": "[" * 100_000}),
        ("[1e300, 1e-300]", [1e300, 1e-300]),
        # PostgreSQL writes them out, 15 MB of zeros.
        (f"[{'1e300, ' * 50_000}1]", {"output": f"[{'1e300, ' * 50_000}1]"}),
    ],
)
def test_a_plain_command_that_exits_with_0_succeeds_with_its_output(out: str, result: Any) -> None:
    assert plain(ended(0, out)) == Succeeded(result)


def test_an_output_with_a_gap_is_text_and_says_how_much_is_missing() -> None:
    decision = plain(Ran(0, out=Written("[1, …, 2]", left_out=900)))

    assert decision == Succeeded({"output": "[1, …, 2]", "left_out": 900})


def test_an_output_that_does_not_fit_once_it_is_escaped_is_cut() -> None:
    decision = plain(ended(0, "\x01" * 500_000))

    assert decision == Succeeded({"output": "\x01" * 125_000, "cut": True})


def test_75_is_tried_again_and_every_other_code_is_not() -> None:
    assert plain(ended(75, "x", "not yet")) == Failed("exit code 75: not yet", retry=True)
    assert plain(ended(1, "x", "no such file\n")) == Failed("exit code 1: no such file")
    assert plain(ended(127)) == Failed("exit code 127")


def test_a_signal_fails_by_its_name() -> None:
    assert failed(plain(ended(None, number=11))) == "signal 11 (SIGSEGV)"
    assert failed(plain(ended(None, number=40))) == "signal 40"


def test_who_may_have_been_asked_to_end_is_told_from_who_ended() -> None:
    asked = [ended(None, number=15), ended(143), ended(130), ended(0)]

    assert all(ran.may_have_been_asked for ran in asked)
    assert not any(ran.may_have_been_asked for ran in (ended(1), ended(None, number=9)))


def test_the_reason_ends_with_the_end_of_stderr() -> None:
    reason = failed(plain(ended(1, err="x" * 9000 + "the point")))

    assert reason.startswith("exit code 1: x")
    assert reason.endswith("the point")
    assert len(reason) < 4000


@pytest.mark.parametrize(
    "out",
    [
        json.dumps(CLAUDE),
        json.dumps(CLAUDE, indent=2),
        json.dumps([{"type": "system"}, CLAUDE]),
        lines([{"type": "system", "subtype": "init"}, CLAUDE]),
        f"a word of warning\n{json.dumps(CLAUDE)}\n",
    ],
)
def test_claude_succeeds_by_its_result(out: str) -> None:
    decision = claude(ended(0, out))

    assert decision == Succeeded({"output": "The tests pass now.", "session_id": "0b1f"})


@pytest.mark.parametrize(
    ("code", "change", "said"),
    [
        (1, {"is_error": True, "result": "API Error: 401"}, "API Error: 401 (exit code 1)"),
        # Seen: the subtype says success beside an error, and the exit code need not be 1.
        (0, {"is_error": True, "result": "Credit is too low"}, "Credit is too low (exit code 0)"),
        (0, {"result": None, "subtype": "error_max_turns"}, "error_max_turns (exit code 0)"),
        (0, {"is_error": None}, "The tests pass now. (exit code 0)"),
    ],
)
def test_claude_fails_by_its_error(code: int, change: dict[str, Any], said: str) -> None:
    reason = failed(claude(ended(code, json.dumps(CLAUDE | change))))

    assert reason == f"Claude reports an error: {said}"


def test_a_result_of_a_client_that_then_fails_does_not_count() -> None:
    reason = failed(claude(ended(1, json.dumps(CLAUDE), "hook failed")))

    assert reason == "it printed a result, and ended with exit code 1: hook failed"


@pytest.mark.parametrize("rule", [claude, codex, gemini])
@pytest.mark.parametrize("out", ["", "I am done.", "{}", "[]", "[1]", '"done"', "{", "null"])
def test_exit_0_without_a_result_fails_and_says_so(rule: Any, out: str) -> None:
    reason = failed(rule(ended(0, out, "MCP server failed")))

    assert reason.startswith("exit code 0 without ")
    assert reason.endswith(" as JSON: MCP server failed")


@pytest.mark.parametrize("rule", [claude, codex, gemini])
def test_75_means_nothing_special_to_a_model(rule: Any) -> None:
    assert failed(rule(ended(75))).startswith("exit code 75 without ")


def test_codex_succeeds_by_its_last_message() -> None:
    decision = codex(ended(0, "Reading prompt from stdin...\n" + lines(CODEX)))

    assert decision == Succeeded({"output": "It is done.", "thread_id": "0199"})


def test_codex_is_read_from_the_end_of_a_long_output() -> None:
    out = Written('ut": "half a line"}\n' + lines(CODEX[4:]), left_out=4_000_000)

    assert codex(Ran(0, out=out)) == Succeeded({"output": "It is done."})


def test_codex_fails_by_its_failed_turn() -> None:
    turn = {"type": "turn.failed", "error": {"message": "usage limit reached"}}

    reason = failed(codex(ended(1, lines([*CODEX[:-1], turn]))))

    assert reason == "Codex reports a failed turn: usage limit reached (exit code 1)"


def test_codex_without_a_finished_turn_names_its_error() -> None:
    out = lines([*CODEX[:-1], {"type": "error", "message": "stream disconnected"}])

    reason = failed(codex(ended(0, out)))

    assert reason == "exit code 0 without a finished turn as JSON: stream disconnected"


def test_codex_without_a_message_fails() -> None:
    assert "without a message" in failed(codex(ended(0, lines([CODEX[0], CODEX[-1]]))))


def test_gemini_succeeds_by_its_response() -> None:
    decision = gemini(ended(0, "Loaded cached credentials.\n" + json.dumps(GEMINI, indent=2)))

    assert decision == Succeeded({"output": "Renamed.", "session_id": "77"})


def test_gemini_fails_by_an_error_on_either_stream() -> None:
    said = json.dumps({"error": {"type": "ApiError", "message": "quota", "code": 429}}, indent=2)

    assert failed(gemini(ended(1, said))) == "Gemini reports an error: quota (exit code 1)"
    assert failed(gemini(ended(1, "", said))) == "Gemini reports an error: quota (exit code 1)"


@pytest.mark.parametrize(("code", "meaning"), [(41, "authentication"), (53, "turn limit")])
def test_gemini_without_a_response_says_what_its_exit_code_means(code: int, meaning: str) -> None:
    reason = failed(gemini(ended(code)))

    assert reason == f"exit code {code} without a response as JSON: {meaning}"


def test_an_empty_response_is_none() -> None:
    assert "without a response" in failed(gemini(ended(0, json.dumps(GEMINI | {"response": " "}))))
