"""The errors of the coordinator, one class for each party that must act.

ConfigError, SchemaMismatch   the operator must change something; trying again does not help
StoreUnavailable              time must pass; trying again is right
RequestRefused                the caller asked for something that the rules forbid
LeaseLost                     this agent must stop working on this handoff

Every error says what happened, why, and what to do about it.
"""

from enum import IntEnum, StrEnum
from typing import ClassVar
from uuid import UUID


class ExitCode(IntEnum):
    """What the process tells its starter, as in sysexits(3)."""

    OK = 0
    USAGE = 64
    REFUSED = 65
    UNAVAILABLE = 69
    SOFTWARE = 70
    TRY_AGAIN = 75
    CONFIG = 78


class Refusal(StrEnum):
    """The SQLSTATEs of class ZH, which the functions and triggers in `schema/` raise."""

    STALE_ATTEMPT = "ZH001"
    """The token (handoff, attempt, incarnation) no longer stands."""
    SUPERSEDED = "ZH002"
    """Another incarnation of this agent has registered."""
    UNKNOWN_AGENT = "ZH003"
    """No agent has this name."""
    UNKNOWN_HANDOFF = "ZH004"
    """No handoff has this id."""
    ILLEGAL_TRANSITION = "ZH005"
    """The life cycle has no such step from here."""
    INVALID_VALUE = "ZH006"
    """A field is out of its limits."""
    HOP_LIMIT = "ZH007"
    """The chain of handoffs is longer than `max_hops`."""
    UNKNOWN_PARENT = "ZH008"
    """The parent handoff does not exist."""
    IDEMPOTENCY_CONFLICT = "ZH009"
    """The sender has used this idempotency key for other content."""
    WOULD_WAIT_FOREVER = "ZH010"
    """The awaited agent holds an ancestor of this handoff, so neither could go on."""
    AGENT_LEFT = "ZH011"
    """The agent has left, and must register before it acts."""
    IMMUTABLE = "ZH012"
    """Identity, lineage and sender never change."""
    NOT_THIS_LOGIN = "ZH013"
    """The session's login is bound to one agent, and this call is for another."""
    UNKNOWN_TASK = "ZH014"
    """No task of the business half has this id."""
    DOES_NOT_SERVE = "ZH015"
    """The agent or role does not serve the task's workspace."""
    TASK_UNDER_WAY = "ZH016"
    """The task is with an agent already."""


class CoordinatorError(Exception):
    """Root of all errors of the coordinator: what happened, why, and what to do."""

    exit_code: ClassVar[ExitCode] = ExitCode.SOFTWARE

    what: str
    why: str | None
    fix: str | None

    def __init__(self, what: str, why: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        """One readable text; the parts are joined as sentences."""
        parts = [part for part in (self.what, self.why, self.fix) if part]
        return " ".join(_sentence(part) for part in parts)


class ConfigError(CoordinatorError):
    """A setting or a DSN is wrong; the operator must change it."""

    exit_code = ExitCode.CONFIG


class SchemaMismatch(CoordinatorError):
    """The database's schema is not the one this release needs; the operator must migrate."""

    exit_code = ExitCode.CONFIG


class StoreUnavailable(CoordinatorError):
    """The database cannot be reached or has ended the connection; time must pass."""

    exit_code = ExitCode.UNAVAILABLE


class RequestRefused(CoordinatorError):
    """The database refused a request; the caller must ask for something else.

    `code` is the SQLSTATE: one of `Refusal`, or another one when a plain constraint refused.
    """

    exit_code = ExitCode.REFUSED

    code: str

    def __init__(
        self, code: str, what: str, why: str | None = None, fix: str | None = None
    ) -> None:
        super().__init__(what, why, fix)
        self.code = code

    @property
    def refusal(self) -> Refusal | None:
        """The documented reason; None when `code` is outside class ZH or from a newer schema."""
        return Refusal(self.code) if self.code in set(Refusal) else None


class LeaseLost(CoordinatorError):
    """This agent no longer holds this handoff, and must stop working on it."""

    exit_code = ExitCode.TRY_AGAIN

    handoff_id: UUID
    attempt: int

    def __init__(self, handoff_id: UUID, attempt: int, why: str | None = None) -> None:
        super().__init__(
            f"attempt {attempt} of handoff {handoff_id} no longer stands",
            why,
            "Stop this work: its result would be kept as evidence but not applied.",
        )
        self.handoff_id = handoff_id
        self.attempt = attempt


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."
