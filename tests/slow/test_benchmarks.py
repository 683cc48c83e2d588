"""What the README promises of speed and rest, as the benchmarks measure it; and that they run."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.cluster import Cluster
from benchmarks.contest import Mismatch
from coordinator.embedded import PrivateServer, find_binaries
from tests.support.processes import running

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_work_reaches_its_agent_at_once_and_an_idle_daemon_rests(tmp_path: Path) -> None:
    command: list[str | Path] = [
        *(sys.executable, "-m", "benchmarks", "latency", "first_answer", "idling"),
        *("--quick", "--out", tmp_path),
    ]
    async with running(command, cwd=ROOT) as process:
        assert await process.wait(within=timedelta(seconds=100)) == 0, str(process)

    latency = json.loads((tmp_path / "latency.json").read_text())
    first_answer = json.loads((tmp_path / "first_answer.json").read_text())
    idling = json.loads((tmp_path / "idling.json").read_text())
    # Some 3 ms on a quiet machine, but other tests run beside this one.
    assert latency["p50_ms"] < 30
    assert 0 < first_answer["initialize_s"]["p50"] <= first_answer["tools_list_s"]["p50"] < 10
    assert idling["statements_per_s"] <= 1
    assert idling["cpu_percent_of_a_core"] < 1


async def test_every_comparison_runs_and_its_figures_are_read_back(tmp_path: Path) -> None:
    command: list[str | Path] = [
        *(sys.executable, "-m", "benchmarks", "drain", "arrival", "inserts", "dispatch"),
        *("dispatch-over-backlog", "--quick", "--rounds", "1", "--out", tmp_path),
    ]
    async with running(command, cwd=ROOT) as process:
        assert await process.wait(within=timedelta(seconds=280)) == 0, str(process)

    for name in ("drain", "arrival", "inserts", "dispatch", "dispatch-over-backlog"):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert found["conditions"]["settings"]["fsync"] == "on"
        names = [each["name"] for each in found["contenders"]]
        assert {found["floor"], "coordinator"} <= set(names)
        assert all(
            figure["median"] > 0
            for each in found["contenders"]
            for figure in each["figures"].values()
        )
        assert found["question"] in (tmp_path / f"{name}.md").read_text()


async def test_a_server_that_is_not_durable_is_refused(tmp_path: Path) -> None:
    binaries = find_binaries(prefer_major=15)
    async with PrivateServer.start(tmp_path / "server", binaries, durable=False) as server:
        with pytest.raises(Mismatch, match="fsync: expected on, found off"):
            await Cluster(server, tmp_path).settings()
