"""What a wait costs while it lasts, and what its client hears meanwhile."""

import anyio
import pytest

from benchmarks.stage import SCRIPT, stage
from tests.support.mcp import ERAS, over_http, http_server

pytestmark = pytest.mark.slow

_WAIT_S = 25.0


@pytest.mark.parametrize("mode", ERAS)
async def test_a_wait_costs_heartbeats_and_reports_rising_progress(mode: str) -> None:
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with (
        stage(log_statements=True) as on,
        http_server(on.dsn, "ada") as (_, url),
        over_http(url, mode=mode) as model,
        anyio.create_task_group() as tasks,
    ):
        await model.call("list_agents")

        async def wait() -> None:
            await model.client.call_tool(
                "wait_for_handoff", {"at_most_s": _WAIT_S}, progress_callback=hear
            )

        tasks.start_soon(wait)
        with anyio.fail_after(30):
            while not told:  # ten seconds in: it has said that it is idle long ago
                await anyio.sleep(0.1)
        before = on.server.log.read_text(errors="replace")
        with anyio.fail_after(30):
            while len(told) < 2:
                await anyio.sleep(0.1)
        log = on.server.log.read_text(errors="replace")[len(before) :]

    mine = [line for line in log.splitlines() if "LOG:  execute" in line and "mcp ada" in line]
    assert told == sorted(set(told))
    assert [line for line in mine if "heartbeat_many" not in line] == []
