"""The command `events`."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import click

from coordinator.cli.common import Common, common_options, on_database, opened, required_dsn
from coordinator.cli.inputs import EVENT_NUMBER, ROWS
from coordinator.cli.output import note, paint, say, say_json
from coordinator.core.errors import ExitCode

if TYPE_CHECKING:
    from coordinator.core.transitions import Transition
    from coordinator.store.connection import Connection
    from coordinator.store.operator_calls import EventFilter

_LAST = 20


_EXAMPLES = """\b
Examples:
  coordinator events --follow
  coordinator events --agent trae --since 0 --json
"""


@click.command(epilog=_EXAMPLES)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until interrupted.")
@click.option("--handoff", type=click.UUID, help="Only this handoff's.")
@click.option("--agent", help="Only what concerns this agent.")
@click.option("--since", type=EVENT_NUMBER, help="All after the event with this number.")
@click.option("--last", type=ROWS, help=f"The newest so many; {_LAST} unless --since is given.")
@common_options
def events(
    common: Common,
    *,
    follow: bool,
    handoff: UUID | None,
    agent: str | None,
    since: int | None,
    last: int | None,
) -> int:
    """Show transitions of handoffs and agents, whoever caused them, in order.

    Each is shown once, also when its transaction was a long one and its number is low. A lost
    database is waited out. With --json each line is one JSON object.
    """
    from coordinator.store.operator_calls import EventFilter

    if since is not None and last is not None:
        raise click.UsageError("--since and --last do not go together")
    wanted = EventFilter(handoff_id=handoff, agent=agent)
    tell = _tell_json if common.as_json else _tell_text
    dsn = required_dsn(common.settings())
    on_database(
        common,
        partial(
            _show, wanted=wanted, since=since, last=last, tell=tell, dsn=dsn if follow else None
        ),
    )
    return ExitCode.OK


async def _show(
    connection: "Connection",
    *,
    wanted: "EventFilter",
    since: int | None,
    last: int | None,
    tell: "Callable[[Transition], None]",
    dsn: str | None,
) -> None:
    from coordinator.operate.events import EventReader, follow

    reader = EventReader(wanted)
    async for event in reader.past(connection, since=since, newest=last or _LAST):
        tell(event)
    if dsn:
        reconnect = partial(opened, dsn)
        async for event in follow(reader, connection, reconnect, lambda error: note(str(error))):
            tell(event)


def _tell_json(event: "Transition") -> None:
    from coordinator.operate.events import event_document

    say_json(event_document(event), indent=None)


def _tell_text(event: "Transition") -> None:
    from coordinator.operate.events import render_event

    say(render_event(event, paint=paint))
