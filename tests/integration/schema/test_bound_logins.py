"""A login that is one agent is no other: by the functions, by plain SQL, and in other databases.

These are real logins on connections of their own. Ada's login tries; Bob is who it tries to be.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.integration.schema.mutation import wound
from tests.integration.schema.test_privileges import AGENT, BOUND, DAEMON, PLAIN
from tests.integration.schema.world import Life, World
from tests.support.postgres import Cluster, Database

pytestmark = pytest.mark.matrix

NOT_YOURS = "ZH013"


@dataclass(frozen=True, slots=True)
class Scene:
    """The referee's connection, Ada's, and what Bob does meanwhile."""

    referee: World
    ada: World
    """Logged in as agent ada, who may answer to the role reviewer."""
    login: str
    bob: Life
    held: UUID
    """Accepted by Bob: attempt 1."""

    async def bobs(self) -> tuple[object, ...]:
        """Everything of Bob's that an intruder might change."""
        agent = await self.referee.the_agent("bob")
        handoff = await self.referee.the(self.held)
        return (*agent.values(), *handoff.values())


@pytest.fixture
async def scene(committed: World, database: Database) -> AsyncIterator[Scene]:
    """Ada by functions, and Bob at work."""
    async with scene_with(committed, database, AGENT) as scene:
        yield scene


@pytest.fixture
async def plain(committed: World, database: Database) -> AsyncIterator[Scene]:
    """Ada by plain SQL, and Bob, who has no incarnation either, at work."""
    async with scene_with(committed, database, PLAIN) as scene:
        yield scene


@asynccontextmanager
async def scene_with(world: World, database: Database, rights: str) -> AsyncIterator[Scene]:
    bob = await world.agent("bob", plain=rights == PLAIN)
    held = await world.held(bob, accepted=rights == AGENT)
    name = f"ada_of_{database.name}"
    async with a_bound_login(world, name, rights), World.on(database, user=name) as ada:
        yield Scene(world, ada, name, bob, held)


@asynccontextmanager
async def a_bound_login(world: World, name: str, rights: str) -> AsyncIterator[None]:
    """A login that is agent ada and may answer to reviewer; it is dropped at the end."""
    await world.execute(f"create role {name} login in role {rights}, {BOUND}")
    await world.execute(
        "insert into coordination.agent_logins (login, agent_name, roles)"
        " values ($1, 'ada', '{reviewer}')",
        name,
    )
    try:
        yield
    finally:
        await world.execute(f"drop role {name}")


# By the functions -------------------------------------------------------------------------------

AS_BOB: Mapping[str, str] = {
    "register_agent": "register_agent('bob', gen_random_uuid())",
    "heartbeat": "heartbeat('bob', $2)",
    "heartbeat_many": "heartbeat_many('{bob}', $2)",
    "heartbeat_many beside her own": "heartbeat_many('{ada,bob}', $2)",
    "set_agent_status": "set_agent_status('bob', 'blocked', $2)",
    "leave": "leave('bob', $2)",
    "hand_off": "hand_off('bob', 'eve', 'do it')",
    "hand_off_many": """hand_off_many('bob', '{"to_agent": "eve", "task_description": "x"}', $2)""",
    "check_wait": "check_wait('bob', 'eve')",
    "accept_handoff": "accept_handoff($1, 1, 'bob', $2)",
    "report_progress": "report_progress($1, 1, 'bob', $2)",
    "complete_handoff": "complete_handoff($1, 1, 'bob', $2)",
    "fail_handoff": "fail_handoff($1, 1, 'bob', $2, 'no')",
    "cancel_handoff": "cancel_handoff($1)",
    "held_handoff": "held_handoff('bob', $2)",
}
"""A call for Bob with his own true token; $1 is what he holds, $2 his incarnation."""


async def test_a_bound_login_cannot_call_for_another_agent(scene: Scene) -> None:
    before = await scene.bobs()

    answers = await intrusions(scene.ada, scene)

    assert answers == dict.fromkeys(AS_BOB, NOT_YOURS)
    assert await scene.bobs() == before


async def test_every_function_that_speaks_for_an_agent_is_tried(world: World) -> None:
    """Those that name an agent or a handoff, but for two that only read, and the operator's."""
    rows = await world.rows(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace and prosecdef"
    )

    tried = {call.split()[0] for call in AS_BOB}
    read_only = {"get_agent_status", "get_handoff"}
    assert {row[0] for row in rows} == tried | read_only | {"retry_handoff"}


async def test_a_bound_login_lives_a_whole_life_as_itself(scene: Scene) -> None:
    me, ada = Life("ada", uuid4()), scene.ada
    await ada.register(me, roles=["reviewer"])
    handoff = await scene.referee.handoff("reviewer")
    await scene.referee.dispatch("reviewer")

    assert (await ada.heartbeat(me))["held_handoff"] == handoff
    await ada.execute("select * from heartbeat_many('{ada}', $1)", me.incarnation)
    [held] = await ada.rows("select id from held_handoff('ada', $1)", me.incarnation)
    await ada.accept(held["id"], 1, me)
    await ada.execute("select report_progress($1, 1, 'ada', $2)", handoff, me.incarnation)
    await ada.execute(
        "select * from hand_off('ada', 'bob', 'x', incarnation => $1)", me.incarnation
    )
    assert await ada.complete(handoff, 1, me) == "applied"
    await ada.say(me, "blocked", "lunch")
    await ada.execute("select leave('ada', $1)", me.incarnation)

    assert await scene.referee.state(handoff) == ("completed", "succeeded")
    assert await scene.referee.shows("ada") == ("blocked", "left")


async def test_in_its_own_name_it_cannot_end_what_another_holds(scene: Scene) -> None:
    me = Life("ada", scene.bob.incarnation)
    before = await scene.bobs()

    assert await scene.ada.complete(scene.held, 1, me) == "stale"
    assert await scene.ada.fail(scene.held, 1, me) == "stale"

    assert await scene.bobs() == before


async def test_it_cannot_take_an_address_that_it_was_not_given(scene: Scene) -> None:
    """A role may be another agent's name, and dispatch would bring his work."""
    for role in ("bob", "admin"):
        with World.refusal(NOT_YOURS):
            await scene.ada.register(Life("ada", uuid4()), roles=["reviewer", role])


async def test_it_reads_the_handoffs_that_concern_it(scene: Scene) -> None:
    ways = [("eve", "bob"), ("eve", "admin"), ("ada", "bob"), ("eve", "ada"), ("eve", "reviewer")]
    handoffs = {way: await scene.referee.handoff(way[1], from_agent=way[0]) for way in ways}

    seen = {
        way
        for way, handoff in handoffs.items()
        if await scene.ada.rows("select from get_handoff($1)", handoff)
    }

    assert seen == {("ada", "bob"), ("eve", "ada"), ("eve", "reviewer")}


async def test_what_is_left_open_to_a_bound_login_that_knows_an_id(scene: Scene) -> None:
    """docs/security.md tells of it: neither changes anything for Bob."""
    me, before = Life("ada", uuid4()), await scene.bobs()
    await scene.ada.register(me)

    [bob] = await scene.ada.rows("select current_handoff, incarnation from get_agent_status('bob')")
    child = "select handoff_id from hand_off('ada', 'eve', 'x', parent_id => $1)"
    [sent] = await scene.ada.rows(child, bob["current_handoff"])
    assert await scene.ada.complete(scene.held, 1, me) == "stale"

    assert bob["incarnation"] == scene.bob.incarnation
    assert (await scene.referee.the(sent["handoff_id"]))["root_id"] == scene.held
    assert (await scene.referee.events(scene.held))[-1] == "handoff.settled_late"
    assert await scene.bobs() == before


async def test_it_cancels_what_it_sent(scene: Scene) -> None:
    [sent] = await scene.ada.rows("select handoff_id from hand_off('ada', 'bob', 'do it')")

    assert await scene.ada.cancel(sent["handoff_id"]) == "cancelled"


async def test_two_logins_may_be_one_agent(
    scene: Scene, committed: World, database: Database
) -> None:
    """For a change of passwords: the old one goes once the new one is in use."""
    other = f"{scene.login}_too"
    async with a_bound_login(committed, other, AGENT), World.on(database, user=other) as second:
        life = Life("ada", uuid4())
        await scene.ada.register(life)
        await second.heartbeat(life)


async def test_becoming_the_role_that_it_is_a_member_of_does_not_unbind_it(scene: Scene) -> None:
    await scene.ada.execute(f"set role {AGENT}")

    with World.refusal(NOT_YOURS):
        await scene.ada.execute("select * from heartbeat('bob')")


# A binding that is not there --------------------------------------------------------------------


async def test_in_another_database_a_bound_login_is_nobody(scene: Scene, cluster: Cluster) -> None:
    async with cluster.database() as elsewhere, World.on(elsewhere) as referee:
        await wound(elsewhere)
        bob = await referee.agent("bob")
        held = await referee.held(bob, accepted=True)
        there = Scene(referee, scene.ada, scene.login, bob, held)
        async with World.on(elsewhere, user=scene.login) as intruder:
            answers = await intrusions(intruder, there)
            seen = await intruder.rows("select from get_handoff($1)", held)

    assert answers == dict.fromkeys(AS_BOB, NOT_YOURS)
    assert seen == []


async def test_in_another_database_a_plain_bound_login_sees_and_writes_nothing(
    plain: Scene, cluster: Cluster
) -> None:
    async with cluster.database() as elsewhere, World.on(elsewhere) as referee:
        await referee.handoff("ada", from_agent="ada")
        async with World.on(elsewhere, user=plain.login) as intruder:
            assert await intruder.rows("select from handoffs") == []
            assert await intruder.execute("update handoffs set status = 'completed'") == "UPDATE 0"
            async with intruder.refused("42501"):
                await intruder.handoff("bob", from_agent="ada")
            async with intruder.refused("42501"):
                await intruder.execute("insert into agent_status (agent_name) values ('ada')")


@pytest.mark.parametrize(
    "loss",
    ["delete from coordination.agent_logins", "alter role {login} rename to {login}_x"],
    ids=["removed", "renamed"],
)
async def test_a_login_that_lost_its_binding_is_nobody(scene: Scene, loss: str) -> None:
    await scene.referee.execute(loss.format(login=scene.login))
    try:
        for name in ("ada", "bob"):
            with World.refusal(NOT_YOURS):
                await scene.ada.execute("select * from register_agent($1)", name)
    finally:
        if "rename" in loss:
            await scene.referee.execute(f"alter role {scene.login}_x rename to {scene.login}")


async def test_a_binding_holds_without_the_membership_that_marks_it(scene: Scene) -> None:
    await scene.referee.execute(f"revoke {BOUND} from {scene.login}")

    with World.refusal(NOT_YOURS):
        await scene.ada.execute("select * from heartbeat('bob')")


async def test_a_session_whose_login_was_dropped_can_do_nothing(
    committed: World, database: Database
) -> None:
    name = f"ada_of_{database.name}"
    async with a_bound_login(committed, name, AGENT):
        left_over = database.connect(user=name)
        ada = await left_over.__aenter__()
        await ada.execute("select agent_channel('ada')")
    try:
        with pytest.raises(asyncpg.PostgresError):
            await ada.execute("select * from register_agent('ada')")
    finally:
        await left_over.__aexit__(None, None, None)


# Who is not bound -------------------------------------------------------------------------------


async def test_a_shared_login_speaks_for_every_agent_as_before(
    scene: Scene, committed: World, database: Database
) -> None:
    shared = f"shared_of_{database.name}"
    await committed.execute(f"create role {shared} login in role {AGENT}")
    try:
        async with World.on(database, user=shared) as agents:
            await agents.register(Life("ada", uuid4()), roles=["bob"])
            await agents.heartbeat(scene.bob)
            assert await agents.complete(scene.held, 1, scene.bob) == "applied"
    finally:
        await committed.execute(f"drop role {shared}")


async def test_whoever_administers_the_role_is_not_bound_by_it(
    committed: World, database: Database
) -> None:
    """From PostgreSQL 16 on, who makes a role becomes a member of it, with the admin option."""
    owner = f"owner_of_{database.name}"
    await committed.execute(
        f"create role {owner} login in role {AGENT}; grant {BOUND} to {owner} with admin option"
    )
    try:
        async with World.on(database, user=owner) as agents:
            await agents.register(Life("ada", uuid4()))
            await agents.register(Life("bob", uuid4()))
    finally:
        await committed.execute(f"drop role {owner}")


# By plain SQL -----------------------------------------------------------------------------------


async def test_a_plain_bound_login_lives_a_whole_life_as_itself(plain: Scene) -> None:
    ada = plain.ada
    await ada.execute("insert into agent_status (agent_name, roles) values ('ada', '{reviewer}')")
    handoff = await plain.referee.handoff("reviewer")
    await plain.referee.dispatch("reviewer")
    await ada.execute("update agent_status set last_seen = now() where agent_name = 'ada'")
    mine = "select id from handoffs where assigned_agent = 'ada' and status = 'in_progress'"
    assert await ada.value(mine) == handoff
    sent = await ada.handoff("bob", from_agent="ada")
    assert (
        await ada.execute("update handoffs set status = 'completed' where id = $1", handoff)
        == "UPDATE 1"
    )
    await ada.execute("update agent_status set status = 'idle' where agent_name = 'ada'")

    assert await plain.referee.state(handoff) == ("completed", "succeeded")
    assert await plain.referee.state(sent) == ("pending", None)


PLAIN_INSERTS = [
    "insert into handoffs (from_agent, to_agent, task_description) values ('bob', 'eve', 'x')",
    "insert into agent_status (agent_name) values ('bobs_brother')",
    "insert into agent_status (agent_name, roles) values ('ada', '{bob}')",
]
PLAIN_UPDATES = [
    "update agent_status set last_seen = now()",
    "update agent_status set status = 'blocked' where agent_name = 'bob'",
    "update handoffs set status = 'completed'",
    "update handoffs set last_error = 'x'",
]


async def test_a_plain_bound_login_takes_nothing_of_another_agents(plain: Scene) -> None:
    before = await plain.bobs()

    for insert in PLAIN_INSERTS:
        async with plain.ada.refused("42501"):
            await plain.ada.execute(insert)
    await plain.ada.execute("insert into agent_status (agent_name) values ('ada')")
    async with plain.ada.refused("42501"):
        await plain.ada.execute("update agent_status set roles = '{bob}' where agent_name = 'ada'")

    assert await plain.bobs() == before


async def test_a_plain_bound_login_changes_no_row_of_another_agents(plain: Scene) -> None:
    before = await plain.bobs()

    done = [await plain.ada.execute(update) for update in PLAIN_UPDATES]

    assert done == ["UPDATE 0"] * len(PLAIN_UPDATES)
    assert await plain.bobs() == before


async def test_a_plain_bound_login_cannot_end_what_it_sent_and_another_holds(
    plain: Scene,
) -> None:
    eve = await plain.referee.agent("eve", plain=True)
    sent = await plain.ada.handoff("eve", from_agent="ada")
    await plain.referee.dispatch("eve")

    done = await plain.ada.execute("update handoffs set status = 'completed' where id = $1", sent)

    assert done == "UPDATE 0"
    assert (await plain.referee.the(sent))["assigned_agent"] == eve.name


async def test_a_plain_bound_login_withdraws_what_it_sent_and_nobody_holds(plain: Scene) -> None:
    sent = await plain.ada.handoff("nobody", from_agent="ada")

    await plain.ada.execute(
        "update handoffs set status = 'completed', outcome = 'cancelled' where id = $1", sent
    )

    assert await plain.referee.state(sent) == ("completed", "cancelled")


async def test_a_plain_bound_login_sees_the_handoffs_that_concern_it_and_all_agents(
    plain: Scene,
) -> None:
    world = plain.referee
    theirs = [
        await world.handoff("ada"),
        await world.handoff("reviewer"),
        await world.handoff("bob", from_agent="ada"),
    ]
    await world.handoff("admin")

    rows = await plain.ada.rows("select id from handoffs order by position")
    agents = await plain.ada.rows("select agent_name, status from agent_status")

    assert [row["id"] for row in rows] == theirs
    assert [tuple(row) for row in agents] == [("bob", "working")]


async def test_a_plain_shared_login_sees_and_speaks_for_all_as_before(
    plain: Scene, committed: World, database: Database
) -> None:
    shared = f"shared_of_{database.name}"
    await committed.execute(f"create role {shared} login in role {PLAIN}")
    try:
        async with World.on(database, user=shared) as agents:
            assert len(await agents.rows("select from handoffs")) == 1
            await agents.handoff("eve", from_agent="anybody")
            await agents.execute("update agent_status set last_seen = now()")
            done = await agents.execute(
                "update handoffs set status = 'completed' where assigned_agent = 'bob'"
            )
    finally:
        await committed.execute(f"drop role {shared}")

    assert done == "UPDATE 1"


async def test_becoming_the_plain_role_does_not_open_others_rows(plain: Scene) -> None:
    await plain.ada.execute(f"set role {PLAIN}")

    assert await plain.ada.rows("select from handoffs") == []
    assert await plain.ada.execute("update agent_status set status = 'idle'") == "UPDATE 0"


@pytest.mark.parametrize("rights", [AGENT, PLAIN])
async def test_no_agent_reads_or_changes_who_is_bound_to_whom(
    committed: World, database: Database, rights: str
) -> None:
    async with scene_with(committed, database, rights) as scene:
        for sql in (
            "select from coordination.agent_logins",
            "insert into coordination.agent_logins values ('x', 'bob')",
            "select coordination.binding()",
        ):
            async with scene.ada.refused("42501"):
                await scene.ada.execute(sql)


async def test_the_daemon_cannot_bind_logins(world: World) -> None:
    async with world.refused("42501", DAEMON):
        await world.execute("delete from coordination.agent_logins")


async def intrusions(ada: World, scene: Scene) -> dict[str, str]:
    """What each call for Bob comes to: the SQLSTATE of its refusal, or that it was done."""

    async def call(name: str) -> str:
        token = {"$1": f"'{scene.held}'", "$2": f"'{scene.bob.incarnation}'"}
        sql = AS_BOB[name]
        for mark, value in token.items():
            sql = sql.replace(mark, value)
        await ada.execute(f"select * from {sql}")
        return "done"

    return {name: await ada.answered(partial(call, name)) for name in AS_BOB}
