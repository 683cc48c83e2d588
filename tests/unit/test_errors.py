"""What errors say, and to whom."""

from uuid import UUID

import pytest

from coordinator.core.errors import (
    ConfigError,
    CoordinatorError,
    ExitCode,
    LeaseLost,
    Refusal,
    RequestRefused,
    SchemaMismatch,
    StoreUnavailable,
)


def test_an_error_reads_as_what_why_and_what_to_do() -> None:
    error = CoordinatorError("the port is taken", "another daemon holds it", "Choose another.")

    assert str(error) == "the port is taken. another daemon holds it. Choose another."


def test_an_error_leaves_out_what_it_does_not_know() -> None:
    assert str(CoordinatorError("the port is taken", fix="Choose another.")) == (
        "the port is taken. Choose another."
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CoordinatorError("x"), 70),
        (ConfigError("x"), 78),
        (SchemaMismatch("x"), 78),
        (StoreUnavailable("x"), 69),
        (RequestRefused("ZH004", "x"), 65),
        (LeaseLost(UUID(int=7), 2), 75),
    ],
)
def test_each_error_has_the_exit_code_of_who_must_act(error: CoordinatorError, code: int) -> None:
    assert error.exit_code == ExitCode(code)


def test_a_refusal_is_known_by_its_sqlstate() -> None:
    assert RequestRefused("ZH009", "x").refusal is Refusal.IDEMPOTENCY_CONFLICT


def test_a_sqlstate_from_elsewhere_is_no_documented_refusal() -> None:
    assert RequestRefused("23505", "x").refusal is None


def test_refusals_are_numbered_without_gap_or_repetition() -> None:
    assert [refusal.value for refusal in Refusal] == [
        f"ZH{number:03}" for number in range(1, len(Refusal) + 1)
    ]


def test_a_lost_lease_names_handoff_and_attempt() -> None:
    lost = LeaseLost(UUID(int=7), 2, "the sweep took it back")

    assert str(lost).startswith(
        f"attempt 2 of handoff {UUID(int=7)} no longer stands. the sweep took it back."
    )
