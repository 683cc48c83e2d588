"""The commands `agents list` and `agents show`; those about logins are in `logins`."""

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import Common, common_options, on_database
from coordinator.cli.inputs import ROWS
from coordinator.cli.logins import create_login, drop_login, list_logins
from coordinator.cli.output import count, note, paint, say, say_json
from coordinator.core.errors import ExitCode, Refusal, RequestRefused

if TYPE_CHECKING:
    from coordinator.core.transitions import Transition
    from coordinator.store.connection import Connection
    from coordinator.store.operator_calls import AgentRow, HandoffRow

_EVENTS = 20


@click.group(no_args_is_help=False)
def agents() -> None:
    """Look at agents, and make logins for them."""


for _command in (create_login, list_logins, drop_login):
    agents.add_command(_command)


@agents.command("list")
@click.option("--status", type=click.Choice(("idle", "working", "blocked")), help="Only these.")
@click.option("--limit", type=ROWS, default=100, show_default=True, help="At most so many.")
@common_options
def list_(common: Common, *, status: str | None, limit: int) -> int:
    """List agents by name: what each does, when it was heard, what it holds."""
    from coordinator.operate.agents import render_agents
    from coordinator.store.operator_calls import list_agents

    found = on_database(common, lambda on: list_agents(on, status=status, most=limit + 1))
    rows, more = found[:limit], len(found) > limit
    if common.as_json:
        say_json({"agents": rows, "more": more})
        return ExitCode.OK
    if rows:
        say(render_agents(rows, paint=paint))
    note("there are more; raise --limit" if more else count(len(rows), "agent"))
    return ExitCode.OK


@agents.command()
@click.argument("name")
@common_options
def show(common: Common, name: str) -> int:
    """Show one agent: its row, what it holds, and its latest transitions."""
    from coordinator.operate.agents import render_agent
    from coordinator.operate.events import event_document, render_event
    from coordinator.operate.handoffs import render_handoffs

    agent, held, events = on_database(common, lambda on: _load(on, name))
    if common.as_json:
        told = [event_document(event) for event in events]
        say_json({"agent": agent, "handoff": held, "events": told})
        return ExitCode.OK
    say(render_agent(agent, paint=paint))
    if held:
        say(f"\n{render_handoffs([held], paint=paint)}")
    if events:
        say("\n" + "\n".join(render_event(event, paint=paint) for event in events))
    return ExitCode.OK


async def _load(
    on: "Connection", name: str
) -> "tuple[AgentRow, HandoffRow | None, list[Transition]]":
    from coordinator.store.operator_calls import find_handoff, list_agent_events, list_agents

    rows = await list_agents(on, agent=name, most=1)
    if not rows:
        raise RequestRefused(
            Refusal.UNKNOWN_AGENT,
            f"there is no agent {name}",
            "no row of agent_status has this name",
            "List them with: coordinator agents list",
        )
    held = rows[0].current_handoff
    row = await find_handoff(on, held) if held else None
    return rows[0], row, await list_agent_events(on, name, most=_EVENTS)
