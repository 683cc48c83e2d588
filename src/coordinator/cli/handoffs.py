"""The commands about handoffs: create, list, show, cancel, retry."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from coordinator.cli.common import Common, common_options, on_database
from coordinator.cli.ending import NEGATIVE
from coordinator.cli.inputs import ATTEMPTS, INT32, ROWS, Deadline, Duration, JsonObject
from coordinator.cli.output import count, note, paint, say, say_json, warn
from coordinator.core.errors import ExitCode, Refusal, RequestRefused

if TYPE_CHECKING:
    from coordinator.core.transitions import Transition
    from coordinator.operate.trace import Trace
    from coordinator.store.connection import Connection
    from coordinator.store.operator_calls import HandedOff, HandoffRow, NewHandoff

_identifier = click.argument("handoff_id", metavar="ID", type=click.UUID)


@click.group(no_args_is_help=False)
def handoffs() -> None:
    """Create handoffs, look at them, cancel and retry them."""


_EXAMPLES = """\b
Examples:
  coordinator handoffs create --from me --to reviewer --task "review a.py" --wait 60
  coordinator handoffs create --from me --to trae --task "sum up" --context @context.json
"""


@handoffs.command(epilog=_EXAMPLES)
@click.option("--from", "from_agent", required=True, help="Who hands over.")
@click.option("--to", "to_agent", required=True, help="An agent's name or a role.")
@click.option("--task", "task_description", required=True, help="What is to be done.")
@click.option(
    "--context", type=JsonObject(), default={}, help="Shared variables and paths, as JSON object."
)
@click.option("--priority", type=INT32, default=0, show_default=True, help="Higher goes first.")
@click.option("--delay", type=Duration(), default="0s", help="Not to be dispatched before that.")
@click.option("--deadline", type=Deadline(), help="Past it, it is completed as failed.")
@click.option("--timeout", type=Duration(above_zero=True), help="Limit of one attempt.")
@click.option("--max-attempts", type=ATTEMPTS, default=3, show_default=True)
@click.option("--idempotency-key", help="The same key with the same content is the same handoff.")
@click.option(
    "--parent", "parent_id", type=click.UUID, help="The handoff from which this one is handed on."
)
@click.option("--wait", type=Duration(), help="Wait so long for its end; a number is seconds.")
@common_options
def create(
    common: Common,
    *,
    deadline: datetime | timedelta | None,
    wait: timedelta | None,
    **fields: Any,
) -> int:
    """Hand a task to an agent or a role, and print its id.

    With --wait: exits with 0 if it succeeded, 1 if it failed or was cancelled, 75 if it has not
    ended in that time; it goes on then.
    """
    from coordinator.store.operator_calls import NewHandoff

    new = NewHandoff(
        **fields,
        deadline_at=deadline if isinstance(deadline, datetime) else None,
        deadline_in=deadline if isinstance(deadline, timedelta) else None,
        will_wait=wait is not None,
    )
    handed, row = on_database(common, lambda on: _create(on, new, wait, common))
    if common.as_json:
        say_json(
            {
                "handoff_id": handed.handoff_id,
                "repeated": handed.repeated,
                "warning": handed.warning,
                "handoff": row,
            }
        )
    return ExitCode.OK if wait is None else _tell_end(row, common)


@handoffs.command("list")
@click.option("--status", type=click.Choice(("pending", "in_progress", "completed")))
@click.option("--outcome", type=click.Choice(("succeeded", "failed", "cancelled")))
@click.option("--to", "to_agent", help="Only to this address.")
@click.option("--from", "from_agent", help="Only from this agent.")
@click.option("--limit", type=ROWS, default=50, show_default=True, help="At most so many.")
@common_options
def list_(
    common: Common,
    *,
    status: str | None,
    outcome: str | None,
    to_agent: str | None,
    from_agent: str | None,
    limit: int,
) -> int:
    """List handoffs, newest first."""
    from coordinator.operate.handoffs import render_handoffs
    from coordinator.store.operator_calls import HandoffFilter, list_handoffs

    wanted = HandoffFilter(status, outcome, to_agent, from_agent)
    found = on_database(common, lambda on: list_handoffs(on, wanted, most=limit + 1))
    rows, more = found[:limit], len(found) > limit
    if common.as_json:
        say_json({"handoffs": rows, "more": more})
        return ExitCode.OK
    if rows:
        say(render_handoffs(rows, paint=paint))
    note("there are more; raise --limit" if more else count(len(rows), "handoff"))
    return ExitCode.OK


@handoffs.command()
@_identifier
@common_options
def show(common: Common, handoff_id: UUID) -> int:
    """Show one handoff: its row, its transitions, and the tree of all that belongs to it."""
    from coordinator.operate.events import event_document, render_event
    from coordinator.operate.handoffs import render_handoff
    from coordinator.operate.trace import render_trace

    row, events, trace = on_database(common, lambda on: _load(on, handoff_id))
    if common.as_json:
        told = [event_document(event) for event in events]
        tree = {"root_id": trace.root_id, "handoffs": trace.stories}
        say_json({"handoff": row, "events": told, "trace": tree})
        return ExitCode.OK
    if row:
        say(render_handoff(row, paint=paint))
    else:
        warn("its row was deleted; this is what its transitions tell")
    say("\n" + "\n".join(render_event(event, paint=paint) for event in events))
    say(f"\n{render_trace(trace, paint=paint)}")
    return ExitCode.OK


@handoffs.command()
@_identifier
@click.option("--reason", help="Kept with the handoff.")
@common_options
def cancel(common: Common, handoff_id: UUID, *, reason: str | None) -> int:
    """Cancel a handoff: at once, or by asking its agent to stop."""
    verdict, row = on_database(common, lambda on: _cancel(on, handoff_id, reason))
    if verdict == "completed" and row and row.outcome != "cancelled":
        raise RequestRefused(
            Refusal.ILLEGAL_TRANSITION,
            f"handoff {handoff_id} cannot be cancelled",
            f"it is completed ({row.outcome}), and that is final",
            f"Look at it with: coordinator handoffs show {handoff_id}",
        )
    told = "requested" if verdict == "requested" else "cancelled"
    if common.as_json:
        say_json({"handoff_id": handoff_id, "verdict": told, "handoff": row})
        return ExitCode.OK
    say(told)
    if told == "requested":
        note("its agent is asked to stop; if it stays silent, the daemon ends it")
    return ExitCode.OK


@handoffs.command()
@_identifier
@click.option("--attempts", type=ATTEMPTS, default=3, show_default=True, help="The new budget.")
@common_options
def retry(common: Common, handoff_id: UUID, *, attempts: int) -> int:
    """Reopen a completed handoff with a new budget of attempts; its deadline is cleared."""
    row = on_database(common, lambda on: _retry(on, handoff_id, attempts))
    if common.as_json:
        say_json({"handoff_id": handoff_id, "handoff": row})
        return ExitCode.OK
    say("pending")
    note(f"attempt {row.attempt + 1} will be the next one, attempt {row.max_attempts} the last")
    return ExitCode.OK


async def _create(
    on: "Connection", new: "NewHandoff", wait: timedelta | None, common: Common
) -> "tuple[HandedOff, HandoffRow | None]":
    from coordinator.operate.handoffs import wait_for_end
    from coordinator.store.operator_calls import find_handoff, hand_off

    handed = await hand_off(on, new)
    if not common.as_json:
        say(str(handed.handoff_id))
    if handed.repeated:
        note("this idempotency key has its handoff already; nothing new was written")
    if handed.warning:
        warn(handed.warning)
    if wait is None:
        return handed, await find_handoff(on, handed.handoff_id)
    return handed, await wait_for_end(on, handed, within=wait)


def _tell_end(row: "HandoffRow | None", common: Common) -> int:
    from coordinator.operate.handoffs import render_handoff

    if row is None:
        warn("its row was deleted meanwhile")
        return NEGATIVE
    if not common.as_json:
        say(render_handoff(row, paint=paint))
    if row.outcome is None:
        note(f"it has not ended yet; look again with: coordinator handoffs show {row.id}")
        return ExitCode.TRY_AGAIN
    return ExitCode.OK if row.outcome == "succeeded" else NEGATIVE


async def _load(
    on: "Connection", handoff_id: UUID
) -> "tuple[HandoffRow | None, list[Transition], Trace]":
    from coordinator.operate.trace import load_trace
    from coordinator.store.operator_calls import find_handoff, list_handoff_events

    row = await find_handoff(on, handoff_id)
    events = await list_handoff_events(on, [handoff_id])
    if row is None and not events:
        raise _unknown(handoff_id)
    root_id = row.root_id if row else next((_root_of(event) for event in events), None)
    return row, events, await load_trace(on, root_id or handoff_id)


def _root_of(event: "Transition") -> UUID | None:
    root_id = event.detail.get("root_id")
    return UUID(str(root_id)) if root_id else None


async def _cancel(
    on: "Connection", handoff_id: UUID, reason: str | None
) -> "tuple[str, HandoffRow | None]":
    from coordinator.store.operator_calls import cancel_handoff, find_handoff

    verdict = await cancel_handoff(on, handoff_id, reason)
    return verdict, await find_handoff(on, handoff_id)


async def _retry(on: "Connection", handoff_id: UUID, attempts: int) -> "HandoffRow":
    from coordinator.store.operator_calls import find_handoff, retry_handoff

    await retry_handoff(on, handoff_id, attempts=attempts)
    row = await find_handoff(on, handoff_id)
    if row is None:
        raise _unknown(handoff_id)
    return row


def _unknown(handoff_id: UUID) -> RequestRefused:
    return RequestRefused(
        Refusal.UNKNOWN_HANDOFF,
        f"there is no handoff {handoff_id}",
        "neither a row nor a transition has this id",
        "List them with: coordinator handoffs list",
    )
