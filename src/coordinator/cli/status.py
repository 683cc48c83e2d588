"""The command `status`."""

import click

from coordinator.cli.common import Common, common_options, on_database
from coordinator.cli.output import paint, say, say_json, warn
from coordinator.core.errors import ExitCode


@click.command()
@common_options
def status(common: Common) -> int:
    """Show how much work there is, who does it, and which daemon leads: one read."""
    from coordinator.operate.status import is_led, render_status, status_document
    from coordinator.operate.table import printable
    from coordinator.store.operator_calls import read_status

    leader_stale_after = common.settings().leader_stale_after
    row = on_database(common, read_status)
    if common.as_json:
        say_json(status_document(row, leader_stale_after=leader_stale_after))
        return ExitCode.OK
    say(render_status(row, leader_stale_after=leader_stale_after, paint=paint))
    if not is_led(row, leader_stale_after=leader_stale_after):
        warn("no daemon leads, so nothing is dispatched; start one with: coordinator run")
    for address in row.unanswered:
        warn(f"no agent answers to {printable(address)}, and work waits there")
    return ExitCode.OK
