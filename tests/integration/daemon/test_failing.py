"""What nobody foresaw ends the process with a logged reason; its manager starts it again."""

from pathlib import Path

from tests.integration.daemon.daemons import QUICK_SWEEP, daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database

DEFECT_OR_SCHEMA = {70, 78}
CONFIG = 78


async def test_a_table_that_vanishes_ends_the_daemon_with_a_logged_reason(
    database: Database, world: World
) -> None:
    async with leader(database, QUICK_SWEEP) as process:
        await world.execute("alter table coordination.leadership rename to elsewhere")

        failed = await process.seen("daemon.failed")
        code = await process.wait()

    assert "schema" in failed["reason"]
    assert code in DEFECT_OR_SCHEMA


async def test_a_health_socket_that_cannot_be_had_is_logged_as_the_reason(
    database: Database, tmp_path: Path
) -> None:
    async with daemon(database, health_socket=str(tmp_path / "missing" / "socket")) as process:
        failed = await process.seen("daemon.failed")
        code = await process.wait()

    assert failed["error.type"] == "ConfigError"
    assert code == CONFIG
