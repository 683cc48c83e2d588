"""One attempt at one handoff by a command: from its worktree to what is said of it.

A command is ended, all of it, when its time is up, when its handoff was cancelled or is no longer
ours, and when the runner is asked to stop and the grace has passed. Whatever a client says for
itself, through a tool and by this attempt's own token, counts before anything it prints.
"""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import assert_never

import anyio
from anyio.abc import TaskGroup

from coordinator.agents.agent import Agent
from coordinator.agents.background import background
from coordinator.agents.held import HeldHandoff
from coordinator.agents.runner.given import Given, environment, written
from coordinator.agents.runner.job import Call, EndedBy, Job
from coordinator.agents.runner.profiles import Profile, Tools
from coordinator.agents.runner.prompt import prompt
from coordinator.agents.runner.threads import Threads
from coordinator.agents.runner.verdicts import Decision, Failed, Ran, Succeeded
from coordinator.agents.runner.window import Window
from coordinator.agents.runner.worktree import Repository, WorktreeFailed
from coordinator.agents.stopping import Stopping
from coordinator.core.errors import LeaseLost, RequestRefused
from coordinator.core.model import AgentState, Json, Outcome, settled_by
from coordinator.core.wrapped import WrappedVariable

_LOOK_WITHIN_S = 2
_ASKED_TOGETHER_S = 0.5
_AT_ONCE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Orders:
    """What the operator wants run."""

    command: Sequence[str]
    """What to run; empty for the profile's own command."""
    profile: Profile
    tools: Sequence[str]
    """How our MCP server is started, for a model's client."""
    resume: bool
    """Whether a client goes on in the thread that it had for the same chain of handoffs."""
    cwd: Path
    environ: Mapping[str, str]
    timeout: timedelta | None
    grace: timedelta
    progress_every: timedelta
    repository: Repository | None

    @property
    def program(self) -> str:
        """What is run, for people to read."""
        return self.command[0] if self.command else self.profile.program or "nothing"


class Attempt:
    """One attempt at one handoff."""

    def __init__(
        self,
        handoff: HeldHandoff,
        orders: Orders,
        stopping: Stopping,
        *,
        agent: Agent,
        threads: Threads,
        is_last: bool,
    ) -> None:
        self.outcome = "cancelled"
        self.worktree: Json | None = None
        self.unstartable: str | None = None
        self.left = 0
        self._handoff = handoff
        self._orders = orders
        self._stopping = stopping
        self._agent = agent
        self._threads = threads
        self._window = Window(agent, handoff.token)
        self._is_last = is_last

    async def work(self, tasks: TaskGroup) -> None:
        """Run the command, and decide; `tasks` outlives the handoff's own cancellation."""
        if self._orders.repository is None:
            self._say(await self._run(tasks, self._orders.cwd))
            return
        try:
            tree = await self._orders.repository.grow(self._handoff.token)
        except WorktreeFailed as failed:
            self._say(Failed(str(failed), retry=True))
            return
        self._window.worktree = tree.named
        try:
            decision = await self._run(tasks, tree.cwd)
        finally:
            with anyio.CancelScope(shield=True):
                self.worktree = await tree.settle()
        self._say(decision)

    async def _run(self, tasks: TaskGroup, cwd: Path) -> Decision:
        row = self._handoff.row
        thread = self._threads.of(row) if self._orders.resume else None
        with written(row) as given:
            job = Job(self._call(given, cwd, thread), note=self._orders.profile.note)
            tasks.start_soon(self._attend, job, given)
            try:
                await self._wait(job)
            finally:
                self.unstartable, self.left = job.unstartable, job.left
                if self._orders.resume:
                    self._note_thread(job)
        if self._is_last or self._stopping.asked.is_set() or job.unstartable:
            await self._take_no_more()
        with anyio.CancelScope(shield=True):  # a heartbeat may find it out in the meantime
            await self._heed_settlement()
        decision = await self._decision(job)
        if thread is not None and isinstance(decision, Failed):
            # It may be the thread that is no good: the next attempt begins a new one.
            return Failed(f"{decision.reason} (resumed {thread})", retry=True)
        return decision

    def _note_thread(self, job: Job) -> None:
        profile, settled = self._orders.profile, self._window.settled
        has_failed = (
            isinstance(profile.rule(job.ran), Failed)
            if settled is None
            else settled[0] is Outcome.FAILED
        )
        thread = None if has_failed else profile.thread(job.ran)
        self._threads.note(self._handoff.row, thread)

    def _call(self, given: Given, cwd: Path, thread: str | None) -> Call:
        row, orders = self._handoff.row, self._orders
        environ = environment(orders.environ, row, agent=self._agent.name, context_file=given.file)
        if orders.profile.is_model:
            environ[WrappedVariable.SOCKET.value] = str(given.socket)
        command = orders.command
        if not command:
            names = (WrappedVariable.AGENT.value, WrappedVariable.SOCKET.value)
            tools = Tools(tuple(orders.tools), {name: environ[name] for name in names})
            command = orders.profile.command(tools, thread)
        return Call(
            command=command,
            cwd=cwd,
            environ=environ,
            prompt=prompt(
                row,
                agent=self._agent.name,
                context_file=str(given.file),
                mark=secrets.token_hex(8),
                has_tools=orders.profile.is_model,
            ),
            given=given,
            grace=orders.grace,
        )

    async def _attend(self, job: Job, given: Given) -> None:
        async with AsyncExitStack() as stack:
            if self._orders.profile.is_model:
                try:
                    await stack.enter_async_context(self._window.opened(given.socket))
                except OSError as error:
                    job.give_up(f"no socket for its tools in {given.folder.parent}: {error}")
                    return
            tasks = await stack.enter_async_context(background())
            tasks.start_soon(self._report_progress, job)
            tasks.start_soon(self._end_on_stop, job)
            if self._orders.timeout is not None:
                tasks.start_soon(self._end_on_timeout, job, self._orders.timeout)
            await job.run()

    async def _wait(self, job: Job) -> None:
        try:
            await job.over.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                if await self._heed_settlement():
                    # A client that has just said its last word may still write it down.
                    with anyio.move_on_after(self._orders.grace.total_seconds()):
                        await job.over.wait()
                job.end(EndedBy.HANDOFF)
                await job.over.wait()
            raise

    async def _take_no_more(self) -> None:
        # Once this one is settled the agent would get another, and give it back: an attempt lost.
        with anyio.move_on_after(_LOOK_WITHIN_S), suppress(RequestRefused):
            await self._agent.set_status(AgentState.BLOCKED, reason="its runner is stopping")

    async def _heed_settlement(self) -> bool:
        """Whether the command itself has settled the attempt; then nothing else will be said."""
        if self._window.settled is not None:
            self._handoff.settled(*self._window.settled)
            self.outcome = "settled"
            return True
        row = None
        with anyio.move_on_after(_LOOK_WITHIN_S), suppress(RequestRefused):
            row = await self._handoff.look()
        if outcome := settled_by(self._handoff.token, row):
            self._handoff.settled(outcome)
            self.outcome = "settled"
        return outcome is not None

    async def _decision(self, job: Job) -> Decision:
        match job.ended_by:
            case EndedBy.TIMEOUT:
                return Failed("the command ran longer than its --timeout", retry=True)
            case EndedBy.RUNNER:
                return Failed("the runner was asked to stop", retry=True)
            case EndedBy.HANDOFF | None:
                if job.unstartable:
                    return Failed(f"the command cannot be started: {job.unstartable}", retry=True)
                return await self._own_decision(job.ran)
            case _:
                assert_never(job.ended_by)

    async def _own_decision(self, ran: Ran) -> Decision:
        decision = self._orders.profile.rule(ran)
        if isinstance(decision, Failed) and ran.may_have_been_asked:
            # A service manager asks the command and the runner at once, in any order.
            with anyio.move_on_after(_ASKED_TOGETHER_S):
                await self._stopping.asked.wait()
                return Failed(f"the runner was asked to stop: {decision.reason}", retry=True)
        return decision

    def _say(self, decision: Decision) -> None:
        if self.outcome == "settled":
            return
        match decision:
            case Succeeded(result):
                named = result if self.worktree is None else {"result": result}
                self._handoff.succeed(self._with_worktree(named))
                self.outcome = "succeeded"
            case Failed(reason, retry):
                self._handoff.fail(
                    reason,
                    retry=retry,
                    retry_in=_AT_ONCE if self._stopping.asked.is_set() else None,
                    result=self._with_worktree(None),
                )
                self.outcome = "retry" if retry else "failed"
            case _:
                assert_never(decision)

    async def _report_progress(self, job: Job) -> None:
        while True:
            await anyio.sleep(self._orders.progress_every.total_seconds())
            if note := job.last_line.take():
                try:
                    await self._handoff.report_progress(note)
                except (LeaseLost, RequestRefused):
                    continue  # the handoff's own body hears of it

    async def _end_on_stop(self, job: Job) -> None:
        await self._stopping.asked.wait()
        with anyio.move_on_after(self._orders.grace.total_seconds()):
            await self._stopping.in_a_hurry.wait()
        job.end(EndedBy.RUNNER)

    async def _end_on_timeout(self, job: Job, limit: timedelta) -> None:
        await anyio.sleep(limit.total_seconds())
        job.end(EndedBy.TIMEOUT)

    def _with_worktree(self, value: Json | None) -> Json | None:
        return value if self.worktree is None else {**(value or {}), "worktree": self.worktree}
