"""What a wait costs while it lasts, and what its client hears meanwhile."""

from functools import partial

import anyio
import pytest

from coordinator.store.queries import query
from tests.support.mcp import ERAS, http_server, over_http
from tests.support.postgres import migrated_cluster, throw_away_server
from tests.support.processes import coordinator
from tests.support.sdk import desk_at
from tests.support.talkative import talkative_cluster

pytestmark = pytest.mark.slow

_NO_HEALTH = {"COORDINATOR_HEALTH_TCP": "off"}
_HEARTBEAT = query("agent_beat").text.splitlines()[0]
"""Of a statement, the log has only the first line behind its mark."""


@pytest.mark.parametrize("mode", ERAS)
async def test_a_wait_costs_heartbeats_alone_and_reports_rising_progress(mode: str) -> None:
    told: list[float] = []
    ticks = [anyio.Event(), anyio.Event()]
    log: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        log.append(database.server.log.read_text(errors="replace"))
        ticks[len(told)].set()
        told.append(progress)

    async with talkative_cluster() as cluster, cluster.database() as database:
        env = {"DATABASE_URL": database.dsn, "COORDINATOR_HEALTH_TCP": "off"}
        async with (
            coordinator("run", env=env),
            http_server(database, "ada") as (_, url),
            over_http(url, mode=mode) as model,
            anyio.create_task_group() as tasks,
        ):
            wait = partial(model.client.call_tool, progress_callback=hear)
            tasks.start_soon(wait, "wait_for_handoff", {})
            with anyio.fail_after(60):
                await ticks[1].wait()
            tasks.cancel_scope.cancel()

    meanwhile = log[1][len(log[0]) :].splitlines()
    mine = [line for line in meanwhile if "|mcp ada|" in line and "LOG:  execute" in line]
    assert 0 < told[0] < told[1]
    assert mine
    assert [line for line in mine if _HEARTBEAT not in line] == []


async def test_the_server_s_own_statistics_say_the_same() -> None:
    ticks = [anyio.Event(), anyio.Event()]
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        ticks[len(told)].set()
        told.append(progress)

    counting = {"shared_preload_libraries": "pg_stat_statements"}
    async with throw_away_server(settings=counting) as server:
        cluster = await migrated_cluster(server)
        async with cluster.database() as database, desk_at(database) as desk:
            await desk.sql.execute("create extension pg_stat_statements")
            login = await desk.login()
            env = {"DATABASE_URL": database.dsn_as(login)}
            async with (
                coordinator("run", env={"DATABASE_URL": database.dsn, **_NO_HEALTH}),
                http_server(database, "ada", env=env) as (_, url),
                over_http(url) as model,
                anyio.create_task_group() as tasks,
            ):
                wait = partial(model.client.call_tool, progress_callback=hear)
                tasks.start_soon(wait, "wait_for_handoff", {})
                with anyio.fail_after(60):
                    await ticks[0].wait()
                    await desk.sql.execute("select pg_stat_statements_reset()")
                    await ticks[1].wait()
                rows = await desk.sql.fetch(
                    "select query, calls from pg_stat_statements"
                    " where userid = $1::text::regrole and calls > 0",
                    login,
                )
                tasks.cancel_scope.cancel()

    [heartbeat] = rows
    assert "b.agent_name, b.status, b.blocked_reason" in heartbeat["query"]
    assert 1 <= heartbeat["calls"] <= 3
