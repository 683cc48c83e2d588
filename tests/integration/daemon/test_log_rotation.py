"""The log in a file that logrotate cuts (copytruncate): what comes after is at its beginning."""

import signal
from pathlib import Path

from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, running
from tests.support.waiting import eventually


async def test_a_log_that_is_appended_to_a_file_goes_on_after_the_file_is_cut(
    database: Database, tmp_path: Path
) -> None:
    log = tmp_path / "coordinator.log"
    env = {"DATABASE_URL": database.dsn, "COORDINATOR_HEALTH_TCP": "off"}
    async with running(["sh", "-c", f'exec "{SCRIPT}" run >> "{log}"'], env=env) as process:
        await eventually(lambda: says(log, "daemon.ready"))
        log.write_bytes(b"")  # as copytruncate does once it has its copy

        async with World.on(database) as world:
            handoff_id = await world.handoff("nobody")
        await eventually(lambda: says(log, str(handoff_id)))
        process.kill(signal.SIGTERM)

        assert await process.wait() == 0
        assert log.read_bytes().startswith(b"{"), "a hole: the log was not opened to append"


async def says(log: Path, word: str) -> bool:
    """Whether the log has this word."""
    return log.exists() and word in log.read_text()
