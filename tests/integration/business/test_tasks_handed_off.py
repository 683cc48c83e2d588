"""A task goes to an agent and comes back: its status follows its handoff, in one transaction."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.integration.business.test_workspaces import create
from tests.integration.daemon.daemons import QUICK_TAIL, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.supabase import acting, sign_up


@dataclass(frozen=True, slots=True)
class Desk:
    """A workspace that agent ada and the role reviewer serve, with one task."""

    world: World
    workspace: UUID
    task: UUID

    async def hand_off(self, to_agent: str = "ada", **given: object) -> UUID:
        """Hand the task over, as the service role."""
        names = "".join(f", {name} => ${n}" for n, name in enumerate(given, start=3))
        async with acting(self.world.connection, "service_role"):
            handoff: UUID = await self.world.value(
                f"select handoff_id from hand_off_task($1, $2{names})",
                self.task,
                to_agent,
                *given.values(),
            )
        return handoff

    async def shows(self) -> tuple[str, str | None]:
        """The task's status and note."""
        [row] = await self.world.rows("select status, note from tasks where id = $1", self.task)
        return row["status"], row["note"]


@pytest.fixture
async def desk(project: Database) -> AsyncIterator[Desk]:
    async with World.on(project) as world:
        owner = await sign_up(world.connection, "olga")
        workspace = await create(world.connection, owner, "Acme")
        await world.execute(
            "insert into workspace_agents values ($1, 'ada'), ($1, 'reviewer')", workspace
        )
        task = await world.value(
            "insert into tasks (workspace_id, title, description, priority, due_date)"
            " values ($1, 'Write it', '# All of it', 'urgent', '2027-01-02') returning id",
            workspace,
        )
        yield Desk(world, workspace, task)


# Handing over -----------------------------------------------------------------------------------


async def test_the_handoff_says_what_is_to_be_done_and_names_the_task(desk: Desk) -> None:
    handoff = await desk.world.the(await desk.hand_off())

    assert handoff["task_description"] == "Write it\n\n# All of it"
    assert handoff["context"] == {
        "task_id": str(desk.task),
        "workspace_id": str(desk.workspace),
        "priority": "urgent",
        "due_date": "2027-01-02",
    }
    assert (handoff["from_agent"], handoff["to_agent"], handoff["priority"]) == ("tasks", "ada", 2)
    assert await desk.shows() == ("todo", None)


async def test_the_limits_of_a_handoff_can_be_given(desk: Desk) -> None:
    handoff = await desk.world.the(
        await desk.hand_off(
            "reviewer", from_agent="olga", timeout=timedelta(minutes=5), max_attempts=1
        )
    )

    assert (handoff["from_agent"], handoff["max_attempts"]) == ("olga", 1)
    assert handoff["timeout"] == timedelta(minutes=5)


async def test_who_does_not_serve_the_workspace_gets_nothing(desk: Desk) -> None:
    await desk.world.agent("trae", roles=["writer"])

    for stranger in ("trae", "writer", "Ada", ""):
        async with desk.world.refused("ZH015"):
            await desk.hand_off(stranger)
    assert await desk.world.value("select count(*) from handoffs") == 0


async def test_a_task_that_does_not_exist_is_refused(desk: Desk) -> None:
    async with desk.world.refused("ZH014", "service_role"):
        await desk.world.execute("select hand_off_task($1, 'ada')", uuid4())


async def test_a_task_that_is_with_an_agent_is_not_handed_off_again(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()

    async with desk.world.refused("ZH016"):
        await desk.hand_off("reviewer")
    await desk.world.dispatch("ada")
    await desk.world.complete(handoff, 1, ada)
    again = await desk.hand_off("reviewer")

    assert await desk.world.value("select handoff_id from tasks") == again


async def test_of_two_who_hand_a_task_over_at_once_one_is_refused(
    desk: Desk, project: Database
) -> None:
    async with World.on(project) as first, World.on(project) as second:
        desks = [Desk(world, desk.workspace, desk.task) for world in (first, second)]

        told = await asyncio.gather(*(one.hand_off() for one in desks), return_exceptions=True)

    assert sorted(getattr(one, "sqlstate", "") for one in told) == ["", "ZH016"]


@pytest.mark.parametrize("role", ["authenticated", "anon", "coordinator_agent"])
async def test_only_the_service_role_and_operators_hand_tasks_over(desk: Desk, role: str) -> None:
    async with desk.world.refused("42501", role):
        await desk.world.execute("select hand_off_task($1, 'ada')", desk.task)
    async with desk.world.role("coordinator_daemon"):
        await desk.world.execute("select hand_off_task($1, 'ada')", desk.task)


# Following --------------------------------------------------------------------------------------


async def test_a_task_is_in_progress_once_accepted_and_in_review_once_completed(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()

    await desk.world.dispatch("ada")
    dispatched = await desk.shows()
    await desk.world.accept(handoff, 1, ada)
    accepted = await desk.shows()
    await desk.world.complete(handoff, 1, ada)

    assert (dispatched, accepted) == (("todo", None), ("in_progress", None))
    assert await desk.shows() == ("review", None)


async def test_a_completion_without_an_accept_puts_it_in_review(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")

    await desk.world.complete(handoff, 1, ada)

    assert await desk.shows() == ("review", None)


async def test_an_agent_that_need_not_accept_has_it_in_progress_at_dispatch(desk: Desk) -> None:
    await desk.world.agent(plain=True)
    handoff = await desk.hand_off()

    await desk.world.dispatch("ada")
    dispatched = await desk.shows()
    await desk.world.execute("update handoffs set status = 'completed' where id = $1", handoff)

    assert dispatched == ("in_progress", None)
    assert await desk.shows() == ("review", None)


async def test_a_failure_brings_it_back_with_a_note(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off(max_attempts=1)
    await desk.world.dispatch("ada")
    await desk.world.accept(handoff, 1, ada)

    await desk.world.fail(handoff, 1, ada)

    assert await desk.shows() == ("todo", "Failed with ada: it broke.")


async def test_a_failed_attempt_brings_it_back_until_the_next(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off(max_attempts=2)
    await desk.world.dispatch("ada")
    await desk.world.accept(handoff, 1, ada)

    await desk.world.fail(handoff, 1, ada)
    failed = await desk.shows()
    await desk.world.age(handoff, "available_at", timedelta(seconds=1))
    await desk.world.sweep("make_due")
    await desk.world.dispatch("ada")
    await desk.world.accept(handoff, 2, ada)

    assert failed == (
        "todo",
        "Attempt 1 by ada came to nothing: it broke. It will be tried again.",
    )
    assert await desk.shows() == ("in_progress", None)


async def test_work_taken_back_is_back_in_todo(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")
    await desk.world.accept(handoff, 1, ada)
    await desk.world.age_heartbeat("ada", timedelta(seconds=121))

    assert await desk.world.sweep("take_back_lapsed") == 1

    status, note = await desk.shows()
    assert (status, "lapsed" in str(note)) == ("todo", True)


async def test_a_cancelled_handoff_brings_it_back(desk: Desk) -> None:
    handoff = await desk.hand_off()

    await desk.world.execute("select cancel_handoff($1, 'not now')", handoff)

    status, note = await desk.shows()
    assert (status, note) == ("todo", "Cancelled: not now.")


async def test_a_missed_deadline_brings_it_back(desk: Desk) -> None:
    later = await desk.world.value("select now() + interval '1 hour'")
    handoff = await desk.hand_off(deadline_at=later)
    await desk.world.age(handoff, "deadline_at", timedelta(seconds=1))

    assert await desk.world.sweep("end_overdue") == 1

    status, note = await desk.shows()
    assert (status, "deadline" in str(note)) == ("todo", True)


async def test_a_handoff_that_is_reopened_goes_through_it_again(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off(max_attempts=1)
    await desk.world.dispatch("ada")
    await desk.world.fail(handoff, 1, ada)

    await desk.world.retry(handoff)
    await desk.world.dispatch("ada")
    await desk.world.complete(handoff, 2, ada)

    assert await desk.shows() == ("review", None)


async def test_a_stale_completion_moves_nothing(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")
    await desk.world.age_heartbeat("ada", timedelta(seconds=121))
    await desk.world.sweep("take_back_lapsed")

    assert await desk.world.complete(handoff, 1, ada) == "stale"

    assert (await desk.shows())[0] == "todo"


async def test_an_older_handoff_of_the_task_moves_it_no_more(desk: Desk) -> None:
    ada = await desk.world.agent()
    first = await desk.hand_off(max_attempts=1)
    await desk.world.dispatch("ada")
    await desk.world.fail(first, 1, ada)
    await desk.hand_off("reviewer")

    await desk.world.retry(first)
    await desk.world.dispatch("ada")
    await desk.world.complete(first, 2, ada)

    assert await desk.shows() == ("todo", "Failed with ada: it broke.")


async def test_a_transition_that_is_rolled_back_leaves_the_task_alone(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")

    async with desk.world.savepoint():
        await desk.world.complete(handoff, 1, ada)

    assert await desk.shows() == ("todo", None)


@pytest.mark.parametrize(
    ("deed", "expected"),
    [
        ("delete from handoffs", ("todo", "Its handoff was deleted.")),
        ("truncate handoffs", ("todo", "Its handoff was deleted.")),
    ],
)
async def test_a_task_whose_handoff_is_removed_is_free_again(
    desk: Desk, deed: str, expected: tuple[str, str]
) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")
    await desk.world.accept(handoff, 1, ada)

    await desk.world.execute(deed)

    assert await desk.shows() == expected
    await desk.hand_off()


async def test_pruning_an_old_handoff_leaves_the_status(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")
    await desk.world.complete(handoff, 1, ada)

    await desk.world.execute("delete from handoffs")

    assert await desk.shows() == ("review", None)
    assert await desk.world.value("select handoff_id from tasks") is None


async def test_a_handoff_that_only_names_a_task_does_not_move_it(desk: Desk) -> None:
    ada = await desk.world.agent()
    forged = await desk.world.handoff("ada", context={"task_id": str(desk.task)})
    await desk.world.dispatch("ada")

    await desk.world.complete(forged, 1, ada)

    assert await desk.shows() == ("todo", None)


async def test_a_deleted_task_does_not_keep_its_agent_from_ending(desk: Desk) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")

    await desk.world.execute("delete from tasks")

    assert await desk.world.complete(handoff, 1, ada) == "applied"


async def test_a_batch_moves_each_task(desk: Desk) -> None:
    lives = [await desk.world.agent(f"agent {n}", plain=True) for n in range(50)]
    for life in lives:
        await desk.world.execute(
            "insert into workspace_agents values ($1, $2)", desk.workspace, life.name
        )
        task = await desk.world.value(
            "insert into tasks (workspace_id, title) values ($1, $2) returning id",
            desk.workspace,
            life.name,
        )
        await Desk(desk.world, desk.workspace, task).hand_off(life.name)

    await desk.world.dispatch(*(life.name for life in lives))

    assert await desk.world.value("select count(*) from tasks where status = 'in_progress'") == 50


# With the daemon --------------------------------------------------------------------------------


async def test_a_task_goes_through_the_daemon_to_a_plain_agent_and_into_review(
    desk: Desk, project: Database
) -> None:
    await desk.world.agent(plain=True)
    async with leader(project, QUICK_TAIL) as process:
        handoff = await desk.hand_off()
        await process.seen("handoff.dispatched", handoff_id=str(handoff))
        during = await desk.shows()
        await desk.world.execute("update handoffs set status = 'completed' where id = $1", handoff)

    assert during == ("in_progress", None)
    assert await desk.shows() == ("review", None)


async def test_a_task_that_somebody_keeps_locked_does_not_stop_the_others(
    desk: Desk, project: Database
) -> None:
    """Its own transition waits until the lock is gone; nothing is lost."""
    handoff = await desk.hand_off()
    async with leader(project, QUICK_TAIL) as process, World.on(project) as other:
        async with other.connection.transaction():
            await other.execute("select from tasks for update")
            await desk.world.agent("ada", plain=True)
            await desk.world.agent("bob", plain=True)
            bobs = await desk.world.handoff("bob")
            adas_next = await desk.world.handoff("ada")

            await process.seen("handoff.dispatched", handoff_id=str(bobs))
            await process.seen("handoff.dispatched", handoff_id=str(adas_next))

            assert await desk.world.state(handoff) == ("pending", None)
        await desk.world.execute(
            "update handoffs set status = 'completed' where id = $1", adas_next
        )
        await process.seen("handoff.dispatched", handoff_id=str(handoff))

    assert await desk.shows() == ("in_progress", None)


@pytest.mark.parametrize(
    ("sweep", "column", "ago"),
    [
        ("end_overdue", "deadline_at", 1),
        ("take_back_timed_out", "attempt_ends_at", 1),
        ("take_back_unaccepted", "dispatched_at", 31),
        ("take_back_lapsed", None, 121),
    ],
)
async def test_a_sweep_passes_over_a_handoff_whose_task_is_locked(
    desk: Desk, project: Database, sweep: str, column: str | None, ago: int
) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")
    if column:
        await desk.world.age(handoff, column, timedelta(seconds=ago))
    else:
        await desk.world.accept(handoff, 1, ada)
        await desk.world.age_heartbeat("ada", timedelta(seconds=ago))
    async with World.on(project) as other, other.connection.transaction():
        await other.execute("select from tasks for update")
        await desk.world.execute("set lock_timeout = '2s'")

        assert await desk.world.sweep(sweep) == 0

    assert await desk.world.sweep(sweep) == 1
    assert (await desk.shows())[0] == "todo"


async def test_a_person_may_change_a_handoff_that_came_back_while_its_task_is_locked(
    desk: Desk, project: Database
) -> None:
    await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")
    await desk.world.age_heartbeat("ada", timedelta(seconds=121))
    await desk.world.sweep("take_back_lapsed")
    async with World.on(project) as other, other.connection.transaction():
        await other.execute("select from tasks for update")

        done = await desk.world.execute("update handoffs set priority = 9 where id = $1", handoff)

    assert done == "UPDATE 1"


async def test_a_context_keeps_its_task(desk: Desk) -> None:
    handoff = await desk.hand_off()
    change = "update handoffs set context = $2 where id = $1"

    for lost in ({}, {"task_id": "another"}):
        async with desk.world.refused("ZH012"):
            await desk.world.execute(change, handoff, lost)
    await desk.world.execute(change, handoff, {"task_id": str(desk.task), "files": ["a.py"]})
    strange = await desk.world.handoff("ada", context={"task_id": "of somebody's own"})
    await desk.world.execute(change, strange, {})


@pytest.mark.parametrize(
    ("said", "note"),
    [
        (None, "Failed with ada."),
        ("", "Failed with ada."),
        ("  ", "Failed with ada."),
        ("failed", "Failed with ada."),
        ("It broke.", "Failed with ada: It broke."),
        ("%s ünd\n'quotes'", "Failed with ada: %s ünd\n'quotes'."),
        ("x" * 5000, "Failed with ada: " + "x" * 2000 + "."),
    ],
)
async def test_a_note_reads_well_whatever_the_agent_said(
    desk: Desk, said: str | None, note: str
) -> None:
    await desk.world.agent(plain=True)
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")

    await desk.world.execute(
        "update handoffs set status = 'completed', outcome = 'failed', last_error = $2"
        " where id = $1",
        handoff,
        said,
    )

    assert await desk.shows() == ("todo", note)


async def test_an_agents_word_waits_for_a_task_that_is_locked(
    desk: Desk, project: Database
) -> None:
    ada = await desk.world.agent()
    handoff = await desk.hand_off()
    await desk.world.dispatch("ada")
    async with World.on(project) as other:
        async with other.connection.transaction():
            await other.execute("update tasks set title = 'Write it well'")
            said = desk.world.later(desk.world.complete(handoff, 1, ada))
            await other.wait_until_blocked(desk.world)

        assert await said == "applied"
    assert await desk.shows() == ("review", None)


async def test_a_trigger_that_raises_for_one_task_does_not_stop_the_others(
    desk: Desk, project: Database
) -> None:
    await desk.world.execute(
        "create function refuse_all() returns trigger language plpgsql as"
        " $$ begin raise exception 'frozen'; end $$"
    )
    handoff = await desk.hand_off()
    await desk.world.execute(
        "create trigger theirs before update on tasks for each row execute function refuse_all()"
    )
    await desk.world.agent("ada", plain=True)
    await desk.world.agent("bob", plain=True)
    bobs = await desk.world.handoff("bob")

    async with leader(project, QUICK_TAIL) as process:
        await process.seen("handoff.dispatched", handoff_id=str(bobs))
        await process.seen("pass.failed")

    assert await desk.world.state(handoff) == ("pending", None)
