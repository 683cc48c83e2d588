"""Signals: TERM drains, a second one ends at once, HUP reads the configuration again."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.daemon.daemons import daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator
from tests.support.waiting import eventually

SOON = timedelta(seconds=3)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_leader_told_to_stop_drains_and_ends_with_0(
    database: Database, sign: signal.Signals
) -> None:
    async with leader(database) as process:
        process.kill(sign)

        assert await process.wait(within=SOON) == 0
        assert process.logged("daemon.draining", reason=sign.name)
        assert process.lines[-1]["event"] == "daemon.stopped"


async def test_a_standby_told_to_stop_ends_with_0(database: Database) -> None:
    async with leader(database), daemon(database) as standby:
        await standby.seen("daemon.ready", role="standby")
        standby.kill(signal.SIGTERM)

        assert await standby.wait(within=SOON) == 0


async def test_a_drained_daemon_has_logged_what_it_did(database: Database, world: World) -> None:
    await world.execute(
        "select from generate_series(1, 200) n,"
        " register_agent('agent-' || n, gen_random_uuid(), '{reviewer}')"
    )
    async with leader(database, dispatch_batch="5") as process:
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " select 'eve', 'reviewer', 'do it' from generate_series(1, 200)"
        )
        process.kill(signal.SIGTERM)
        assert await process.wait(within=SOON) == 0

    async with leader(database) as next_one:
        await next_one.seen("handoff.dispatched", within=SOON)
        held = await world.value("select count(*) from handoffs where status = 'in_progress'")
        assert held == 200


async def test_a_drained_daemon_leaves_no_session_behind(database: Database, world: World) -> None:
    async with leader(database) as process:
        process.kill(signal.SIGTERM)
        await process.wait(within=SOON)

    sessions = await world.value(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and application_name like 'coordinator %'"
    )
    assert sessions == 0


async def test_a_second_signal_ends_a_daemon_that_cannot_drain(
    database: Database, world: World
) -> None:
    async with (
        leader(database, sweep_interval="100ms", drain_grace="1h") as process,
        stuck_sweep(database, world),
    ):
        process.kill(signal.SIGTERM)
        await process.seen("daemon.draining")

        process.kill(signal.SIGTERM)

        assert await process.wait(within=SOON) in (0, 75)


async def test_a_daemon_that_cannot_drain_ends_after_the_grace(
    database: Database, world: World
) -> None:
    async with (
        leader(database, sweep_interval="100ms", drain_grace="500ms") as process,
        stuck_sweep(database, world),
    ):
        process.kill(signal.SIGTERM)

        assert await process.wait(within=SOON) == 0


# --- reload ---------------------------------------------------------------------------------------


async def test_hup_applies_what_has_changed(
    database: Database, world: World, tmp_path: Path
) -> None:
    config = write(tmp_path, log_level="info", safety_poll="1h")
    async with configured(database, config) as process:
        write(tmp_path, log_level="debug", safety_poll="1s")
        process.kill(signal.SIGHUP)

        line = await process.seen("daemon.reloaded", within=SOON)

        assert sorted(line["applied"]) == ["log_level", "safety_poll"]
        assert line["needs_restart"] == []
        await process.seen("pass.completed", pass_name="dispatch", count=3)


async def test_hup_names_what_waits_for_a_restart(database: Database, tmp_path: Path) -> None:
    config = write(tmp_path, log_format="json")
    async with configured(database, config) as process:
        write(tmp_path, log_format="pretty")
        process.kill(signal.SIGHUP)

        line = await process.seen("daemon.reloaded", within=SOON)

        assert line["needs_restart"] == ["log_format"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ('stale_after = "1s"', "stale_after"),
        ("no_such_setting = 1", "no_such_setting"),
        ("not toml at all", "coordinator.toml"),
    ],
)
async def test_a_wrong_file_is_refused_and_the_old_settings_stay(
    database: Database, world: World, tmp_path: Path, wrong: str, named: str
) -> None:
    await world.agent("ada")
    config = write(tmp_path, safety_poll="5s")
    async with configured(database, config) as process:
        config.write_text(wrong)
        process.kill(signal.SIGHUP)

        line = await process.seen("config.rejected", within=SOON)

        assert named in line["reason"]
        handoff_id = await world.handoff("ada")
        await process.seen("handoff.dispatched", within=SOON, handoff_id=str(handoff_id))


async def test_a_missing_file_is_refused_and_the_daemon_goes_on(
    database: Database, tmp_path: Path
) -> None:
    config = write(tmp_path, safety_poll="5s")
    async with configured(database, config) as process:
        config.unlink()
        process.kill(signal.SIGHUP)

        await process.seen("config.rejected", within=SOON)

        process.kill(signal.SIGTERM)
        assert await process.wait(within=SOON) == 0


# --- acts -----------------------------------------------------------------------------------------


def write(directory: Path, **settings: str) -> Path:
    """Write the configuration file anew."""
    file = directory / "coordinator.toml"
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in settings.items()))
    return file


@asynccontextmanager
async def configured(database: Database, config: Path) -> AsyncIterator[RunningProcess]:
    """Run a leader that takes its settings from this file."""
    environment = {"DATABASE_URL": database.dsn, "COORDINATOR_HEALTH_TCP": "off"}
    async with coordinator("run", "--config", str(config), env=environment) as process:
        await process.seen("daemon.ready", role="leader")
        yield process


@asynccontextmanager
async def stuck_sweep(database: Database, world: World) -> AsyncIterator[None]:
    """Lock the queue, so that the sweep waits for it until the end of the block."""

    async def waits() -> bool:
        waiting = await world.value(
            "select count(*) from pg_stat_activity where application_name = 'coordinator sweep'"
            " and datname = current_database() and wait_event_type = 'Lock'"
        )
        return bool(waiting)

    async with World.on(database) as stranger, stranger.connection.transaction():
        await stranger.execute("lock table handoffs in access exclusive mode")
        await eventually(waits)
        yield
