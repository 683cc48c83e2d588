"""What each difference of a schema from its release means, and the statement that mends it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from coordinator.store.catalog import ROLES, STRANGERS, Difference
from coordinator.store.migration_plan import Migration

_OPEN_TO_ALL = frozenset({"public", *STRANGERS})
_DISABLED = "(disabled) "


class Severity(StrEnum):
    """How bad a finding is, worst first."""

    ERROR = "error"
    """The coordinator does not work, or not safely."""
    WARNING = "warning"
    """It works now, and will hurt."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, and the way out."""

    severity: Severity
    what: str
    why: str
    fix: str


def drift_findings(
    differences: Sequence[Difference], migrations: Sequence[Migration]
) -> list[Finding]:
    """Say what each difference means; `migrations` are searched for what is to be run again."""
    return [_finding(difference, migrations) for difference in differences]


def _finding(difference: Difference, migrations: Sequence[Migration]) -> Finding:
    if difference.object.kind == "grant":
        return _grant(difference)
    if difference.expected is None:
        return _extra(difference)
    if difference.found is None:
        return _missing(difference, difference.expected, migrations)
    return _changed(difference, difference.expected, difference.found, migrations)


def _missing(difference: Difference, expected: str, migrations: Sequence[Migration]) -> Finding:
    severity, why = _meaning(difference)
    key = difference.object
    match key.kind:
        case "trigger" | "index":
            fix = f"{expected};"
        case "constraint":
            fix = f"alter table {key.parent} add constraint {key.name} {expected};"
        case "column":
            fix = f"alter table {key.parent} add column {key.name} {expected};"
        case _:
            fix = _run_again(difference, migrations)
    return Finding(severity, f"{key} is missing", why, fix)


def _changed(
    difference: Difference, expected: str, found: str, migrations: Sequence[Migration]
) -> Finding:
    severity, why = _meaning(difference)
    key = difference.object
    match key.kind:
        case "trigger" if found == _DISABLED + expected:
            what = f"{key} is disabled"
            fix = f"alter table {key.parent} enable trigger {key.name};"
        case "trigger":
            what, fix = f"{key} is changed", f"drop trigger {key.name} on {key.parent}; {expected};"
        case "index":
            schema = key.parent.partition(".")[0]
            what, fix = f"{key} is changed", f"drop index {schema}.{key.name}; {expected};"
        case "constraint":
            what = f"{key} is changed"
            fix = (
                f"alter table {key.parent} drop constraint {key.name},"
                f" add constraint {key.name} {expected};"
            )
        case "function":
            what, fix = f"{key} is changed", _run_again(difference, migrations)
        case _:
            what = f"{key} is {found or 'plain'}, not {expected or 'plain'}"
            fix = "Alter it to what this release expects."
    return Finding(severity, what, why, fix)


def _extra(difference: Difference) -> Finding:
    key = difference.object
    acts = key.kind in {"trigger", "constraint"} or _opens_rows(difference)
    on = f" on {key.parent}" if key.kind in {"trigger", "policy"} else ""
    drop = (
        f"alter table {key.parent} drop {key.kind} {key.name};"
        if key.kind in {"column", "constraint"}
        else f"drop {key.kind} {key.name}{on};"
    )
    return Finding(
        Severity.WARNING if acts else Severity.NOTE,
        f"{key} is not of this release",
        "it changes what the coordinator's statements do"
        if acts
        else "it may stand in the way of a later migration",
        f"If nobody needs it: {drop}",
    )


def _opens_rows(difference: Difference) -> bool:
    """Whether a policy does more than to let one role of the operator's own read."""
    if difference.object.kind != "policy":
        return False
    reader = re.match(r"permissive for select to (\S+) using", difference.found or "")
    return reader is None or reader[1] in {*_OPEN_TO_ALL, *ROLES}


def _grant(difference: Difference) -> Finding:
    key = difference.object
    privilege, _, grantee = key.name.rpartition(" to ")
    if difference.found is None:
        return Finding(
            Severity.ERROR,
            f"{grantee} lacks the grant of {privilege} on {key.parent}",
            "what needs it is refused",
            f"grant {privilege} on {key.parent} to {grantee};",
        )
    is_open = grantee in _OPEN_TO_ALL
    return Finding(
        Severity.ERROR if is_open else Severity.WARNING,
        f"{grantee} has a grant of {privilege} on {key.parent} that is not of this release",
        "everybody can get round the coordinator's rules"
        if is_open
        else "it lets this role do more than it needs",
        f"revoke {privilege} on {key.parent} from {grantee};",
    )


def _meaning(difference: Difference) -> tuple[Severity, str]:
    match difference.object.kind:
        case "trigger":
            return Severity.ERROR, "rules go unchecked, and transitions untold and unlogged"
        case "constraint":
            return Severity.ERROR, "rows that break the rules are let in"
        case "index" if (difference.expected or "").startswith("CREATE UNIQUE"):
            return Severity.ERROR, "what must be there once may come twice"
        case "index":
            return Severity.WARNING, "what reads by it becomes slow as the table grows"
        case "function":
            return Severity.ERROR, "it does not do what this release relies on"
        case "sequence":
            return Severity.WARNING, "numbers may run out or repeat"
        case _:
            return Severity.ERROR, "statements of this release may fail"


def _run_again(difference: Difference, migrations: Sequence[Migration]) -> str:
    key = difference.object
    kind, name = key.kind, key.name.partition("(")[0]
    created = re.compile(rf"^create (or replace )?{kind} {re.escape(name)}\b", re.MULTILINE)
    altered = re.compile(rf"^alter {kind} {re.escape(name)}\b", re.MULTILINE)
    then = ""
    for migration in reversed(migrations):
        if created.search(migration.text):
            again = " as create or replace" if kind == "function" else ""
            return f"Run the statement that creates it in {migration.file_name} again{again}.{then}"
        if altered.search(migration.text):
            then = f" Then its alter {kind} in {migration.file_name}.{then}"
    return "Put it back from a dump of a database that has it."
