"""What the README promises of speed and rest, as the benchmarks measure it."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.processes import running

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


async def test_work_reaches_its_agent_at_once_and_an_idle_daemon_rests(tmp_path: Path) -> None:
    command: list[str | Path] = [
        *(sys.executable, "-m", "benchmarks", "latency", "idling"),
        *("--quick", "--out", tmp_path),
    ]
    async with running(command, cwd=ROOT) as process:
        assert await process.wait(within=timedelta(seconds=100)) == 0, str(process)

    latency = json.loads((tmp_path / "latency.json").read_text())
    idling = json.loads((tmp_path / "idling.json").read_text())
    # Some 3 ms on a quiet machine, but other tests run beside this one.
    assert latency["p50_ms"] < 30
    assert idling["statements_per_s"] <= 1
    assert idling["cpu_percent_of_a_core"] < 1
