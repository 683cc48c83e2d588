"""Data and words as people and programs get them."""

import io
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from coordinator.cli.output import count, document, wants_color
from coordinator.operate.table import columns, fields, printable, shortened, shown_span
from coordinator.store.operator_calls import EventFilter


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    variables: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert wants_color(_Terminal()) is colored
    assert wants_color(io.StringIO()) is False


def test_a_document_holds_only_what_json_knows() -> None:
    noon = datetime(2027, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))

    assert document({"at": noon, "ids": (UUID(int=1),), "wanted": EventFilter(agent="ada")}) == {
        "at": "2027-01-31T12:00:00Z",
        "ids": ["00000000-0000-0000-0000-000000000001"],
        "wanted": {"handoff_id": None, "agent": "ada"},
    }


def test_things_are_counted_in_their_number() -> None:
    assert [count(number, "agent") for number in (0, 1, 2)] == ["0 agents", "1 agent", "2 agents"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.0042, "0.004 s"),
        (2.34, "2.3 s"),
        (119.0, "119 s"),
        (121.0, "2 min"),
        (7300.0, "2 h"),
        (200_000.0, "2 d"),
    ],
)
def test_a_span_is_shown_in_a_unit_that_fits(seconds: float | None, shown: str) -> None:
    assert shown_span(seconds) == shown


def test_text_from_strangers_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\nb") == "a\\x1b[2J\\nb"


def test_a_long_text_is_cut_with_a_mark() -> None:
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_columns_stand_under_their_heads() -> None:
    table = columns(("NAME", "STATE"), [("ada", "idle"), ("grace hopper", "blocked")])

    assert table.splitlines() == [
        "NAME          STATE",
        "ada           idle",
        "grace hopper  blocked",
    ]


def test_colour_does_not_move_columns() -> None:
    plain = columns(("STATE", "X"), [("idle", "1")])
    painted = columns(("STATE", "X"), [("idle", "1")], paint=lambda text, _: f"<{text}>")

    assert painted.replace("<", "").replace(">", "") == plain


def test_absent_facts_are_left_out() -> None:
    assert fields([("id", 7), ("error", None), ("roles", "")]) == "id  7"
