"""What a wait costs while it lasts, and what its client hears meanwhile."""

from functools import partial

import anyio
import pytest

from tests.support.mcp import ERAS, http_server, over_http
from tests.support.processes import coordinator
from tests.support.talkative import talkative_cluster

pytestmark = pytest.mark.slow

_HEARTBEAT = ": select b.agent_name, b.status, b.blocked_reason"


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
