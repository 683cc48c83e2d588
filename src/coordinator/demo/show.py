"""The demo: three agents hand work to each other, one is killed, and the work is done all the same.

What is claimed at the end is proven by `coordination_events`, or the demo fails. The first life of
the agent that is killed stands still halfway, so that the kill never comes too late.
"""

import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import anyio

from coordinator.config import Settings
from coordinator.config.durations import duration
from coordinator.core.errors import ConfigError
from coordinator.demo.children import Child, Children, interruptible
from coordinator.demo.options import DemoOptions
from coordinator.demo.part import Part
from coordinator.demo.proof import Claim, faults
from coordinator.demo.stage import (
    as_environment,
    connected,
    inherited,
    migrated_server,
    runtime_directory,
    start_daemon,
)
from coordinator.demo.telling import Narrator
from coordinator.demo.watching import ShowFailed, Watch, chain
from coordinator.demo.work import ASSIGNMENT, IMPLEMENTER, PLANNER, REVIEWER
from coordinator.embedded import PrivateServer
from coordinator.operate.trace import load_trace, render_trace, render_trace_table
from coordinator.store.connection import Connection
from coordinator.store.operator_calls import NewHandoff, hand_off, list_chain

TIMINGS: Mapping[str, str] = MappingProxyType(
    {
        "heartbeat_interval": "1s",
        "stale_after": "3s",
        "take_back_after": "4s",
        "sweep_interval": "250ms",
        "tail_interval": "250ms",
        "safety_poll": "1s",
        "drain_grace": "2s",
    }
)
"""Shorter than usual, so that the show takes seconds; they keep the order that is checked."""

CAST: Mapping[str, str] = MappingProxyType(
    {"claude": PLANNER, "antigravity": IMPLEMENTER, "trae": REVIEWER}
)
"""The agents' names and their roles."""

_VICTIM = "antigravity"
_SENDER = "you"
_PACE = timedelta(milliseconds=200)


async def demo(options: DemoOptions) -> int:
    """Show the main job; return the exit code: 0, or 128 and the signal that cut the show short.

    Nothing is left behind, whatever happens. Raises ShowFailed where the events prove something
    else than was shown, ConfigError where there is no PostgreSQL to run.
    """
    began = anyio.current_time()
    narrator = Narrator(sys.stdout, as_json=options.json, color=options.color)
    is_proven = False
    async with interruptible() as interruption, _set_up(options, narrator) as show:
        claim = await show.play()
        if not options.forever:
            await show.strike()
        await show.conclude(claim, took_s=anyio.current_time() - began)
        is_proven = True
        if options.forever:
            show.invite()
            await anyio.sleep_forever()
    return 0 if is_proven else interruption.exit_code


@asynccontextmanager
async def _set_up(options: DemoOptions, narrator: Narrator) -> AsyncIterator["_Show"]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(_stage_directory(options.data_dir))
        server = await stack.enter_async_context(
            migrated_server(directory, options, durable=options.data_dir is not None)
        )
        narrator.say(
            f"PostgreSQL {server.binaries.version} of your own, in {directory}, migrated",
            event="demo.server_started",
            version=server.binaries.version,
            directory=directory,
        )
        connection = await stack.enter_async_context(connected(server.dsn(), name="demo"))
        watch = await Watch.begin(connection)
        runtime = stack.enter_context(runtime_directory(server))
        children = await stack.enter_async_context(Children.raised())
        yield _Show(options, narrator, server, connection, watch, children, runtime)


@contextmanager
def _stage_directory(given: Path | None) -> Iterator[Path]:
    if given is None:
        with tempfile.TemporaryDirectory(prefix="coordinator-demo-") as directory:
            yield Path(directory)
    elif given.exists() and any(given.iterdir()):
        raise ConfigError(
            f"{given} is not empty",
            "Work that is left from another time would mix with what is to be shown.",
            "Name a new directory, or use `coordinator dev` to go on with that data.",
        )
    else:
        yield given


@dataclass(slots=True)
class _Show:
    options: DemoOptions
    narrator: Narrator
    server: PrivateServer
    connection: Connection
    watch: Watch
    children: Children
    runtime: Path
    agents: dict[str, Child] = field(default_factory=dict)

    async def play(self) -> Claim:
        """Let the agents work, kill one of them, and wait until all is done."""
        await self._start_everybody()
        root_id = await self._assign()
        crashed = await self._crash()
        await self._recover(crashed)
        await self.watch.until("the end of the chain", lambda: self._is_done(root_id))
        return Claim(root_id, crashed, _VICTIM)

    async def strike(self) -> None:
        """End the agents, then the daemon, which logs how they leave; the last lines are ours."""
        for agent in self.agents.values():
            await agent.stop()
        await self.children.stop_all()

    async def conclude(self, claim: Claim, *, took_s: float) -> None:
        """Show what the events tell; raise ShowFailed if that is not what was promised."""
        trace = await load_trace(self.connection, claim.root_id)
        table = render_trace_table(trace, paint=self.narrator.paint)
        stories = [asdict(story) for story in trace.stories]
        self.narrator.show(table, event="demo.handoffs", handoffs=stories)
        tree = render_trace(trace, paint=self.narrator.paint)
        self.narrator.show(tree, event="demo.tree", tree=render_trace(trace).splitlines())
        await self._show_code(claim.root_id)
        if found := faults(self.watch.events, claim):
            raise ShowFailed("the events do not prove the show", "; ".join(found))
        self.narrator.say(
            f"proven by {len(self.watch.events)} events: all done in {took_s:.1f} s, "
            f"{claim.victim} crashed, its work was attempted twice and applied once",
            event="demo.proven",
            took_s=round(took_s, 3),
            root_id=claim.root_id,
            crashed=claim.crashed,
        )

    def invite(self) -> None:
        """Tell a visitor what to do with what goes on running."""
        dsn = self.server.dsn()
        self.narrator.show(
            f"It runs on until Ctrl-C. In another terminal:\n\n"
            f"  export DATABASE_URL='{dsn}'\n"
            f'  coordinator handoffs create --from you --to planner --task "{ASSIGNMENT}"\n'
            f"  psql '{dsn}'",
            event="demo.open",
            dsn=dsn,
        )

    async def _start_everybody(self) -> None:
        self._tell_timings()
        settings = {
            **TIMINGS,
            "dsn": self.server.dsn(),
            "health_tcp": "off",
            "health_socket": self.runtime / "health",
            "log_format": "json" if self.options.json else "pretty",
        }
        env = inherited(self.options.environ, ours=False) | as_environment(settings)
        for name in CAST:
            await self._start_agent(name, stops_halfway=name == _VICTIM)
        daemon = await start_daemon(self.children, env, self.runtime)
        for name in CAST:
            await self.watch.first("agent.registered", agent=name)
        processes = {"coordinator run": daemon.pid} | {
            name: agent.pid for name, agent in self.agents.items()
        }
        self.narrator.say(
            "running: " + ", ".join(f"{name} (process {pid})" for name, pid in processes.items()),
            event="demo.started",
            processes=processes,
        )

    def _tell_timings(self) -> None:
        usual = {setting.name: setting.value for setting in Settings().describe()}
        self.narrator.say(
            "shorter times than usual, to see it all in seconds:"
            + "".join(
                f"\n     {name} {value}, not {usual[name]}" for name, value in TIMINGS.items()
            ),
            event="demo.timings_shortened",
            timings=dict(TIMINGS),
        )

    async def _start_agent(self, name: str, *, stops_halfway: bool = False) -> Child:
        part = Part(
            name=name,
            role=CAST[name],
            dsn=self.server.dsn(),
            heartbeat_interval=duration(TIMINGS["heartbeat_interval"]),
            pace=_PACE,
            stops_halfway=stops_halfway,
            as_json=self.options.json,
            color=self.options.color,
        )
        arguments = ["-m", "coordinator.demo.agent", part.model_dump_json()]
        env = inherited(self.options.environ, ours=False)
        self.agents[name] = await self.children.start(f"agent {name}", arguments, env)
        return self.agents[name]

    async def _assign(self) -> UUID:
        assignment = NewHandoff(_SENDER, PLANNER, ASSIGNMENT, context={})
        handed = await hand_off(self.connection, assignment)
        self.narrator.say(
            f'you hand off to the {PLANNER}: "{ASSIGNMENT}"',
            event="demo.handed_off",
            handoff_id=handed.handoff_id,
        )
        return handed.handoff_id

    async def _crash(self) -> UUID:
        """Kill the victim in the middle of its work; return the handoff that it held."""
        progress = await self.watch.first("handoff.progressed", agent=_VICTIM)
        if progress.handoff_id is None:
            raise ShowFailed("the event of a handoff does not name it")
        victim = self.agents[_VICTIM]
        await victim.kill()
        self.narrator.say(
            f"kill -9 {victim.pid}: {_VICTIM} is dead, in the middle of its work. Nobody tells "
            "the coordinator; silence must.",
            event="demo.killed",
            agent=_VICTIM,
            pid=victim.pid,
            signal=signal.SIGKILL,
            handoff_id=progress.handoff_id,
        )
        return progress.handoff_id

    async def _recover(self, crashed: UUID) -> None:
        await self.watch.first("handoff.taken_back", handoff_id=crashed, reason="lapsed")
        life = await self._start_agent(_VICTIM)
        self.narrator.say(
            f"its work was taken back; a new life of {_VICTIM} starts (process {life.pid})",
            event="demo.restarted",
            agent=_VICTIM,
            pid=life.pid,
        )

    def _is_done(self, root_id: UUID) -> bool:
        names = [event.event for event in chain(self.watch.events, root_id)]
        ends = ("handoff.succeeded", "handoff.failed", "handoff.cancelled")
        return names.count("handoff.queued") == sum(names.count(end) for end in ends)

    async def _show_code(self, root_id: UUID) -> None:
        """Show the draft that passed, from the results that the handoffs keep."""
        rows = await list_chain(self.connection, root_id)
        for row in reversed(rows):
            if isinstance(row.result, dict) and (code := row.result.get("code")):
                self.narrator.show(f"What came of it:\n\n{code}", event="demo.result", code=code)
                return
