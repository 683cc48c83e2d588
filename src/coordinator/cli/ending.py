"""How a command ends: whatever stopped it becomes three parts on stderr and an exit code."""

import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import click

from coordinator import __version__
from coordinator.cli.output import alarm, note
from coordinator.core.errors import CoordinatorError, ExitCode, RequestRefused
from coordinator.operate.table import printable

NEGATIVE = 1
"""The exit code of a command that worked, and whose answer is no."""
_INTERRUPTED = 130
_NEXT: Mapping[int, str] = {
    ExitCode.UNAVAILABLE: "Try again when the database answers, or correct the address in the DSN.",
    ExitCode.CONFIG: "Correct it where it was written; coordinator run --help lists all settings.",
}
_CONNECT_AS = "Connect as a user that is a member of the role coordinator_daemon."
_CHANGE_VALUE = "Change that value; nothing was written."


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stopped a command, why, and what to do next."""

    what: str
    why: str | None
    next: str | None
    exit_code: int
    code: str | None = None
    """The SQLSTATE of a refusal by the database."""


class Unfit(click.BadParameter):
    """The value of an option or argument is of no use; `fix` says what would be."""

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


class Ending:
    """Around the whole command: tells what stopped it, without a traceback, and exits."""

    def __init__(self, *, as_json: bool, with_traceback: bool) -> None:
        self._as_json = as_json
        self._with_traceback = with_traceback

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, SystemExit | GeneratorExit):
            return
        if isinstance(error, KeyboardInterrupt | click.Abort):
            raise SystemExit(_INTERRUPTED) from None
        trouble = trouble_of(error)
        if self._with_traceback:
            note("".join(traceback.format_exception(error)))
        self._tell(trouble)
        raise SystemExit(trouble.exit_code) from None

    def _tell(self, trouble: Trouble) -> None:
        if self._as_json:
            told = {
                "what": trouble.what,
                "why": trouble.why,
                "next": trouble.next,
                "exit_code": trouble.exit_code,
                "code": trouble.code,
            }
            alarm(json.dumps({"error": told}))
            return
        alarm(f"{click.style('error', fg='red', bold=True)}: {_lines(trouble.what)}")
        if trouble.why:
            alarm(f"  why: {_lines(trouble.why)}")
        if trouble.next:
            alarm(f" next: {_lines(trouble.next)}")


def trouble_of(error: BaseException) -> Trouble:
    """Say in three parts what an error means to the person who gave the command."""
    match next(_leaves(error)):
        case click.UsageError() as wrong:
            return _usage(wrong)
        case click.ClickException() as wrong:
            return Trouble(wrong.format_message(), None, None, ExitCode.USAGE)
        case RequestRefused() as refused:
            return _refusal(refused)
        case CoordinatorError() as known:
            fix = known.fix or _NEXT.get(known.exit_code)
            return Trouble(known.what, known.why, fix, known.exit_code)
        case unknown:
            return _defect(unknown)


def _usage(wrong: click.UsageError) -> Trouble:
    command = wrong.ctx.command_path if wrong.ctx else "coordinator"
    help_ = f"See {command} --help."
    fix = wrong.fix if isinstance(wrong, Unfit) else None
    return Trouble(wrong.format_message(), None, f"{fix} {help_}" if fix else help_, ExitCode.USAGE)


def _refusal(refused: RequestRefused) -> Trouble:
    told = Trouble(
        _message(refused.what), refused.why, refused.fix, refused.exit_code, refused.code or None
    )
    if refused.code.startswith(("42P", "42883", "3F")):
        # Nothing is wrong with the request: the schema is not there.
        return replace(told, exit_code=ExitCode.CONFIG)
    if refused.code == "42501":
        return replace(told, next=told.next or _CONNECT_AS)
    if refused.code.startswith("23") and told.why:
        return replace(told, what=told.why, why=told.what, next=told.next or _CHANGE_VALUE)
    if refused.code.startswith("22"):
        return replace(told, next=told.next or _CHANGE_VALUE)
    return told


def _message(text: str) -> str:
    # The driver adds DETAIL, which quotes the whole row, and HINT, which is told as the way out.
    return text.partition("\nDETAIL: ")[0].partition("\nHINT: ")[0]


def _defect(error: BaseException) -> Trouble:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f", in {last[0].name} ({last[0].filename}:{last[0].lineno})" if last else ""
    return Trouble(
        f"this is a defect of the coordinator: {type(error).__qualname__}: {error}",
        f"nobody foresaw this error{place}; version {__version__}",
        "Run it again with COORDINATOR_DEBUG=1 for a traceback, and report that.",
        ExitCode.SOFTWARE,
    )


def _lines(text: str) -> str:
    return "\n       ".join(map(printable, text.splitlines()))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    # A foreseen error that a task group wraps is still the foreseen error, if it came alone.
    if isinstance(error, BaseExceptionGroup):
        leaves = [leaf for inner in error.exceptions for leaf in _leaves(inner)]
        foreseen = [leaf for leaf in leaves if isinstance(leaf, CoordinatorError)]
        yield from [leaf for leaf in leaves if leaf not in foreseen] + foreseen
    else:
        yield error
