"""What people may write as the value of an option."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from coordinator.cli.ending import Unfit
from coordinator.cli.inputs import Deadline, Duration, JsonObject, check_text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("30", timedelta(seconds=30)),
        ("250ms", timedelta(milliseconds=250)),
        ("1h30m", timedelta(minutes=90)),
        ("0s", timedelta(0)),
    ],
)
def test_a_span_of_time_is_read(written: str, meant: timedelta) -> None:
    assert Duration().convert(written, None, None) == meant


@pytest.mark.parametrize("written", ["-5s", "soon", "", "1e3"])
def test_what_is_no_span_of_time_is_refused(written: str) -> None:
    with pytest.raises(Unfit, match="is not a duration"):
        Duration().convert(written, None, None)


def test_a_limit_of_zero_is_refused_where_it_would_mean_never() -> None:
    with pytest.raises(Unfit, match="above zero"):
        Duration(above_zero=True).convert("0s", None, None)


def test_a_deadline_is_a_moment_or_a_span() -> None:
    moment = Deadline().convert("2027-01-31T12:00:00Z", None, None)
    span = Deadline().convert("2h", None, None)

    assert moment == datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert span == timedelta(hours=2)


@pytest.mark.parametrize("written", ["2027-01-31T12:00:00", "2027-13-01", "-1s"])
def test_a_deadline_without_a_zone_or_sense_is_refused(written: str) -> None:
    with pytest.raises(Unfit):
        Deadline().convert(written, None, None)


def test_a_json_object_is_read_as_it_stands_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_text('{"files": ["ä.py"]}', encoding="utf-8")

    assert JsonObject().convert('{"a": 1}', None, None) == {"a": 1}
    assert JsonObject().convert(f"@{file}", None, None) == {"files": ["ä.py"]}


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "not an array"),
        ('"text"', "not a string"),
        ("null", "not null"),
        ("3", "not a plain value"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a":' * 100_000, "not JSON"),
        ("@no/such/file", "cannot be read: No such file"),
    ],
)
def test_what_is_no_json_object_is_refused_by_name(written: str, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        JsonObject().convert(written, None, None)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(Unfit, match="is not UTF-8"):
        JsonObject().convert(f"@{file}", None, None)


def test_a_refusal_names_the_way_out() -> None:
    with pytest.raises(Unfit) as refusal:
        JsonObject().convert("[]", None, None)

    assert refusal.value.fix is not None
    assert json.dumps({"files": ["a.py"]}) in refusal.value.fix


def test_arguments_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(click.UsageError, match="is not UTF-8"):
        check_text(["--task", "\udcff"])
