"""A million operations on one database, each checked against the model, all from one seed.

Deeds are drawn one after the other. Those that touch different rows are done at the same time, each
on a connection of its own and in a transaction of its own; then all rows that they touched are
looked at. A pass of the daemon is done alone, since it may touch any row. Every now and then
everything is compared: all rows, what the events amount to, and the rules between the tables; what
has ended and been deleted is forgotten then, so that the tables stay small.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any
from uuid import UUID

import asyncpg

from tests.integration.schema.test_concurrency import broken_rules
from tests.integration.schema.world import World
from tests.model import looks, operator_deeds, pass_deeds, replay, sending_deeds
from tests.model.deed import Answer, By, Contradiction, Deed, Seen, must
from tests.model.draw import NAMES, Draw
from tests.model.ledger import Ledger
from tests.model.repertoire import WEIGHTS, Operation
from tests.model.shapes import Shapes
from tests.support.postgres import Database

CROWD = 120
"""So many handoffs at most; above that one is deleted for each that comes."""
LARGEST_WAVE = 6
COMPARE_EVERY = 2000
_MEMORY = 40
"""So many deeds are told when something is found."""

_LANES = {By.AGENT: 3, By.PLAIN: 1, By.DAEMON: 1, By.OWNER: 1}
"""How many connections there are of each kind."""
_SESSION = {"jit": "off", "plan_cache_mode": "force_generic_plan"}
"""As the store's own sessions."""
_ROLES = {
    By.AGENT: "coordinator_agent",
    By.PLAIN: "coordinator_plain_agent",
    By.DAEMON: "coordinator_daemon",
}
_SETTINGS = (
    f"update coordination_settings set max_hops = {sending_deeds.MAX_HOPS},"
    f" max_content_bytes = {sending_deeds.MAX_BYTES},"
    " retry_delay = '30 days', max_retry_delay = '30 days'"
)


@dataclass(slots=True)
class Driver:
    """One life of a database under a seed."""

    lanes: dict[By, list[World]]
    referee: World
    second: World
    draw: Draw
    done: int = 0
    met: Counter[str] = field(default_factory=Counter)
    """How often each deed got each answer."""
    last: deque[Deed] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    _replay: replay.Replay = field(default_factory=replay.Replay)
    _told: Counter[str] = field(default_factory=Counter)
    _read: int = 0
    _next: Operation | None = None

    @property
    def ledger(self) -> Ledger:
        return self.draw.ledger

    async def run(self, operations: int) -> None:
        """Do so many; raise Contradiction, with what was done last, at the first that is wrong."""
        try:
            await self._begin()
            compared = 0
            while self.done < operations:
                await self._do(self._wave(operations - self.done))
                if self.done - compared >= COMPARE_EVERY:
                    compared = self.done
                    await self._compare_everything()
            await self._compare_everything()
        except (Contradiction, asyncpg.PostgresError, ExceptionGroup) as error:
            told = "\n".join(str(deed) for deed in self.last)
            error.add_note(f"after {self.done} operations; the last were\n{told}")
            raise

    async def _begin(self) -> None:
        await self.referee.execute(_SETTINGS)
        await self.lanes[By.DAEMON][0].run("lead", key=1, leader=pass_deeds.LEADER)

    # --- a wave -------------------------------------------------------------------------------

    def _wave(self, at_most: int) -> list[Deed]:
        """Draw deeds that touch different rows, as many as there are connections for."""
        size = min(self.draw.chance.randint(1, LARGEST_WAVE), at_most)
        room, wave = dict(_LANES), list[Deed]()
        while len(wave) < size:
            operation = self._next or self._choose()
            self._next = None
            deed = operation(self.draw)
            if deed is None:
                continue
            if room[deed.by] == 0 or any(deed.meets(other) for other in wave):
                # Drawn again in the next wave: what it expects may have changed by then.
                self._next = operation
                break
            room[deed.by] -= 1
            wave.append(deed)
        return wave

    def _choose(self) -> Operation:
        if len(self.ledger.sent) > CROWD and self.draw.now_and_then(0.4):
            return operator_deeds.prune
        [operation] = self.draw.chance.choices(_OPERATIONS, cum_weights=_WEIGHTS)
        return operation

    async def _do(self, wave: Sequence[Deed]) -> None:
        self.last.extend(wave)
        free = {by: iter(lanes) for by, lanes in self.lanes.items()}
        answers = await asyncio.gather(*(_ask(next(free[deed.by]), deed) for deed in wave))
        self.done += len(wave)
        made = [new for done in zip(wave, answers, strict=True) for new in self._judge(*done)]
        touched = {one for deed in wave for one in deed.writes | deed.reads}
        handoffs = [one for one in touched if isinstance(one, UUID)]
        agents = [one for one in touched if type(one) is str]
        seen = await self._look(handoffs, agents)
        for deed, answer in zip(wave, answers, strict=True):
            if deed.observes is not None and not isinstance(answer, str):
                made += deed.observes(answer, seen) or ()
        looks.learn_positions(self.ledger, seen.handoffs.values(), made)
        looks.check_handoffs(self.ledger, seen.handoffs.values(), handoffs)
        looks.check_agents(self.ledger, seen.agents.values(), agents)

    def _judge(self, deed: Deed, answer: Answer) -> Iterable[UUID]:
        must(deed.expected in (None, answer), f"{deed}; answered {answer}")
        self.met[f"{deed.name}: {_word(answer)}"] += 1
        if isinstance(answer, str):
            must(deed.expected is not None, f"{deed} was refused: {answer}")
            return ()
        return deed.follows(answer) or ()

    async def _look(self, handoffs: list[UUID], agents: list[str]) -> Seen:
        rows, actors = await asyncio.gather(
            self.referee.rows(
                f"{looks.HANDOFFS} where id = any ($1) or position > $2",
                handoffs,
                self.ledger.last_position,
            ),
            self.second.rows(f"{looks.AGENTS} where agent_name = any ($1)", agents),
        )
        return Seen({row["id"]: row for row in rows}, {row["agent_name"]: row for row in actors})

    # --- everything ---------------------------------------------------------------------------

    async def _compare_everything(self) -> None:
        rows, actors = (
            await self.referee.rows(looks.HANDOFFS),
            await self.referee.rows(looks.AGENTS),
        )
        looks.check_handoffs(self.ledger, rows, self.ledger.sent)
        looks.check_agents(self.ledger, actors, NAMES)
        must(not (broken := await broken_rules(self.referee)), broken)
        await self._compare_events()
        await self._forget()

    async def _compare_events(self) -> None:
        events = await self.referee.rows(
            "select * from coordination_events where sequence > $1 order by sequence", self._read
        )
        if events:
            self._read = events[-1]["sequence"]
        self._replay.read(events)
        handoffs = replay.by_key(await self.referee.rows(replay.HANDOFFS))
        must(self._replay.handoffs == handoffs, _differing(self._replay.handoffs, handoffs))
        agents = replay.by_key(await self.referee.rows(replay.AGENTS))
        must(self._replay.agents == agents, _differing(self._replay.agents, agents))
        self._told.update(event["event"] for event in events)
        for event, times in self.ledger.told.items():
            must(self._told[event] == times, f"{event} {self._told[event]} times, not {times}")

    async def _forget(self) -> None:
        """Forget the events of what is no more: no rule looks at them again."""
        await self.referee.execute(
            "delete from coordination_events e where not exists"
            " (select from handoffs h where h.id = e.handoff_id)"
        )
        await self.referee.execute("vacuum handoffs, agent_status, coordination_events")


_OPERATIONS = list(WEIGHTS)
_WEIGHTS = list(accumulate(WEIGHTS.values()))


@asynccontextmanager
async def driver(database: Database, seed: str) -> AsyncIterator[Driver]:
    """A driver on an empty, migrated database."""
    async with AsyncExitStack() as stack:

        async def open_lane(by: By) -> World:
            lane = await stack.enter_async_context(World.on(database, **_SESSION))
            if by in _ROLES:
                await lane.execute(f"set role {_ROLES[by]}")
            return lane

        lanes = {by: [await open_lane(by) for _ in range(count)] for by, count in _LANES.items()}
        draw = Draw(Ledger(), random.Random(seed), Shapes(seed))
        yield Driver(lanes, await open_lane(By.OWNER), await open_lane(By.OWNER), draw)


async def _ask(world: World, deed: Deed) -> Answer:
    try:
        return await world.connection.fetch(deed.sql, *deed.values)
    except asyncpg.PostgresError as error:
        return str(error.sqlstate)


def _word(answer: Answer) -> str:
    """A refusal, a verdict, or that it was done."""
    if isinstance(answer, str):
        return answer
    return (
        answer[0][0] if len(answer) == 1 and answer[0] and isinstance(answer[0][0], str) else "done"
    )


def _differing(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> str:
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return "; ".join(f"{key}: told {one.get(key)}, is {other.get(key)}" for key in keys)
