"""How a command ends: three parts, an exit code, no traceback."""

import json
from uuid import UUID

import click
import pytest

from coordinator.cli.ending import Ending, Unfit, trouble_of
from coordinator.core.errors import (
    ConfigError,
    CoordinatorError,
    LeaseLost,
    RequestRefused,
    SchemaMismatch,
    StoreUnavailable,
)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (click.UsageError("no such option"), 64),
        (Unfit("is not JSON"), 64),
        (click.ClickException("no"), 64),
        (RequestRefused("ZH004", "there is no handoff"), 65),
        (StoreUnavailable("no database"), 69),
        (ZeroDivisionError("division by zero"), 70),
        (LeaseLost(UUID(int=1), 1), 75),
        (ConfigError("a setting is wrong"), 78),
        (SchemaMismatch("too new"), 78),
        (RequestRefused("42P01", "the schema is missing"), 78),
    ],
)
def test_each_kind_of_trouble_has_its_exit_code(error: Exception, exit_code: int) -> None:
    assert trouble_of(error).exit_code == exit_code


@pytest.mark.parametrize(
    "error",
    [
        click.UsageError("no such option"),
        StoreUnavailable("no database"),
        ConfigError("a setting is wrong"),
        RequestRefused("23514", "violates check constraint", "to agent must not be blank"),
        RequestRefused("22P02", "invalid input syntax"),
        RequestRefused("42501", "permission denied for table handoffs"),
        ValueError("nobody foresaw this"),
    ],
)
def test_every_trouble_says_what_to_do_next(error: Exception) -> None:
    assert trouble_of(error).next


def test_a_broken_rule_is_told_by_its_meaning_and_without_the_row() -> None:
    refused = RequestRefused(
        "23514",
        'violates check constraint "x"\nDETAIL:  Failing row contains (secret task).',
        "task description must not be blank",
    )

    trouble = trouble_of(refused)

    assert trouble.what == "task description must not be blank"
    assert trouble.why == 'violates check constraint "x"'


def test_a_hint_is_told_once() -> None:
    refused = RequestRefused("ZH009", "it has other content\nHINT:  Use a new key.", fix="New key.")

    trouble = trouble_of(refused)

    assert trouble.what == "it has other content"
    assert trouble.next == "New key."


def test_a_foreseen_error_in_a_group_is_still_foreseen() -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [ConfigError("wrong")])])

    assert trouble_of(group).what == "wrong"


def test_a_defect_beside_a_foreseen_error_is_told_as_the_defect() -> None:
    group = ExceptionGroup("tasks", [ConfigError("wrong"), KeyError("gone")])

    assert trouble_of(group).exit_code == 70


def test_an_error_is_told_in_three_parts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, Ending(as_json=False, with_traceback=False):
        raise CoordinatorError("it broke", "it was old", "buy another")

    told = capsys.readouterr()
    assert end.value.code == 70
    assert told.out == ""
    assert told.err == "error: it broke\n  why: it was old\n next: buy another\n"


def test_an_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), Ending(as_json=False, with_traceback=False):
        raise ConfigError("a name holds \x1b[2J")

    assert "\x1b" not in capsys.readouterr().err


def test_an_error_is_one_json_object_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), Ending(as_json=True, with_traceback=False):
        raise RequestRefused("ZH004", "there is none", fix="look")

    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "what": "there is none",
            "why": None,
            "next": "look",
            "exit_code": 65,
            "code": "ZH004",
        }
    }


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_ends_quietly(
    interruption: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, Ending(as_json=False, with_traceback=False):
        raise interruption

    assert end.value.code == 130
    assert capsys.readouterr().err == ""


def test_a_traceback_is_shown_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), Ending(as_json=False, with_traceback=False):
        raise KeyError("gone")
    quiet = capsys.readouterr().err

    with pytest.raises(SystemExit), Ending(as_json=False, with_traceback=True):
        raise KeyError("gone")
    loud = capsys.readouterr().err

    assert "Traceback" not in quiet
    assert "Traceback" in loud
