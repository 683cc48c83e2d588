"""The MCP server as a model meets it: the SDK's client, the real process, a real daemon."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.mcp import ERAS, on_stdio
from tests.support.postgres import Cluster, Database
from tests.support.processes import coordinator
from tests.support.sdk import Desk, desk_at

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """One database and one daemon for all tests here: each has agents of its own."""
    async with cluster.database() as database:
        env = {"DATABASE_URL": database.dsn, "COORDINATOR_HEALTH_TCP": "off"}
        async with coordinator("run", env=env) as daemon:
            await daemon.seen("daemon.ready")
            yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        yield desk


@pytest.mark.parametrize("mode", ERAS)
async def test_a_handoff_is_shown_accepted_and_completed_in_both_protocols(
    database: Database, desk: Desk, mode: str
) -> None:
    agent = f"ada-{mode}"
    async with on_stdio(database, agent, mode=mode) as model:
        handoff_id = await desk.put(agent, "sum up", context={"files": ["a.py"]})
        shown = await model.wait()
        token = {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}
        await model.call("accept_handoff", **token)
        await model.call("report_progress", **token, note="half way", percent=50)
        settled = await model.call("complete_handoff", **token, result={"sum": 1})

    assert (shown["task"], shown["from_agent"]) == ("sum up", "boss")
    assert settled["verdict"] == "applied"
    row = await desk.row(handoff_id)
    assert (row["outcome"], row["result"]) == ("succeeded", {"sum": 1})
    assert (await desk.agent(agent))["blocked_reason"] == "left"
