"""The commands about the schema: `migrate` brings it up, `doctor` says what is wrong with it."""

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import Common, common_options, on_database
from coordinator.cli.ending import NEGATIVE
from coordinator.cli.output import note, paint, say, say_json
from coordinator.core.errors import ExitCode

if TYPE_CHECKING:
    from coordinator.operate.doctor import Finding
    from coordinator.store.migrations import MigrationReport

# An index on a large table may take minutes.
_MIGRATE_WITHIN = timedelta(hours=1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--business/--no-business",
    default=None,
    help="Whether to install the business half, which needs Supabase. Without either: keep what is"
    " there; where there is nothing of it, it is left out, and that is noted.",
)
@common_options
def migrate(common: Common, *, dry_run: bool, business: bool | None) -> int:
    """Bring the database's schema up to this release.

    Applies what is missing, and adopts what psql or the Supabase CLI put there. One migrator works
    at a time. A schema that newer releases have only added to is left as it is; one that this
    release cannot work with is refused.
    """
    from coordinator.store.migrations import migrate as bring_up

    bring = partial(bring_up, dry_run=dry_run, business=business)
    report = on_database(common, bring, answer_within=_MIGRATE_WITHIN)
    if common.as_json:
        say_json(_report_document(report))
    else:
        _tell_report(report)
    return ExitCode.OK


@click.command()
@common_options
def doctor(common: Common) -> int:
    """Say what is wrong with the database: schema, rows, server and link. Changes nothing.

    Exits with 0 when all is well or there are only notes, and with 1 when there are findings.
    """
    from coordinator.operate.doctor import Severity, diagnose

    findings = on_database(common, diagnose)
    if common.as_json:
        say_json({"findings": findings})
    elif findings:
        say("\n".join(map(_finding_text, findings)))
    else:
        note("all is well")
    bad = any(finding.severity is not Severity.NOTE for finding in findings)
    return NEGATIVE if bad else ExitCode.OK


def _report_document(report: "MigrationReport") -> dict[str, object]:
    return {
        "version": report.version,
        "ahead": report.ahead,
        "dry_run": report.dry_run,
        "steps": [
            {
                "version": step.migration.version,
                "file": step.migration.file_name,
                "half": step.migration.half.value,
                "deed": step.deed.value,
            }
            for step in report.steps
        ],
    }


def _tell_report(report: "MigrationReport") -> None:
    for step in report.steps:
        say(f"{step.deed.value:<6} {step.migration.file_name}")
    reached = max(
        [report.version, *(s.migration.version for s in report.steps if s.deed.value != "skip")]
    )
    if any(step.deed.value == "skip" for step in report.steps):
        note("the business half was left out; coordinator migrate --business installs it")
    if not report.steps and report.ahead:
        note(f"the schema is ahead of this release, which can work with it: {report.ahead}")
    elif not report.steps:
        note(f"the schema is up to date: {report.version}")
    elif report.dry_run:
        note(f"nothing was changed; without --dry-run the schema becomes {reached}")
    else:
        note(f"the schema is now {reached}")


def _finding_text(finding: "Finding") -> str:
    severity = finding.severity.value
    lines = [f"{paint(severity, severity)}: {finding.what}"]
    lines += [f"  why: {finding.why}"] if finding.why else []
    lines += [f" next: {finding.fix}"] if finding.fix else []
    return "\n".join(lines)
