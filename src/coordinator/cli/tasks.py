"""The command about tasks of the business half: hand one to an agent."""

from datetime import datetime, timedelta
from uuid import UUID

import click

from coordinator.cli.common import Common, common_options, on_database
from coordinator.cli.inputs import ATTEMPTS, Deadline, Duration
from coordinator.cli.output import say, say_json, warn
from coordinator.core.errors import ExitCode


@click.group(no_args_is_help=False)
def tasks() -> None:
    """Hand tasks of the business half to agents."""


_EXAMPLES = """\b
Example:
  coordinator tasks hand-off 9b2f8c1e-0d57-4c58-a3f0-3d6f0f6f2f11 --to codex-1
"""


@tasks.command("hand-off", epilog=_EXAMPLES)
@click.argument("task_id", metavar="ID", type=click.UUID)
@click.option("--to", "to_agent", required=True, help="An agent or role that serves it.")
@click.option("--from", "from_agent", default="tasks", show_default=True, help="Who hands over.")
@click.option("--deadline", type=Deadline(), help="Past it, the handoff is completed as failed.")
@click.option("--timeout", type=Duration(above_zero=True), help="Limit of one attempt.")
@click.option("--max-attempts", type=ATTEMPTS, default=3, show_default=True)
@common_options
def hand_off(
    common: Common,
    task_id: UUID,
    *,
    to_agent: str,
    from_agent: str,
    deadline: datetime | timedelta | None,
    timeout: timedelta | None,
    max_attempts: int,
) -> int:
    """Hand a task to an agent or a role, and print the handoff's id.

    The task then follows its handoff: in_progress once an agent has taken it up, review when it is
    completed, and back to todo with a note when it fails.
    """
    from coordinator.store.business_calls import TaskHandOff, hand_off_task

    wanted = TaskHandOff(
        task_id=task_id,
        to_agent=to_agent,
        from_agent=from_agent,
        deadline_at=deadline if isinstance(deadline, datetime) else None,
        deadline_in=deadline if isinstance(deadline, timedelta) else None,
        timeout=timeout,
        max_attempts=max_attempts,
    )
    handed = on_database(common, lambda on: hand_off_task(on, wanted))
    if common.as_json:
        say_json({"task_id": task_id, "handoff_id": handed.handoff_id, "warning": handed.warning})
        return ExitCode.OK
    say(str(handed.handoff_id))
    if handed.warning:
        warn(handed.warning)
    return ExitCode.OK
