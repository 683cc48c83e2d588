"""Measure and keep it: `python -m benchmarks [--quick] [--out DIRECTORY] [NAME ...]`."""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import anyio

from benchmarks import arrival, dispatch, drain, first_answer, idling, inserts, latency
from benchmarks.cluster import Cluster, cluster, connected
from benchmarks.contest import Comparison, run
from benchmarks.machine import describe
from benchmarks.report import Conditions, as_json, as_markdown, as_text, rows

_RESULTS = Path(__file__).with_name("results")
_ALONE = ("latency", "first_answer", "idling")
"""What is measured without anybody beside it, each on a server of its own."""
_BESIDE: dict[str, Callable[[Cluster, bool], Comparison]] = {
    "drain": lambda on, quick: drain.comparison(
        on, count=4_000 if quick else 20_000, agents=400 if quick else 1_000
    ),
    "arrival": lambda on, quick: arrival.comparison(on, count=40 if quick else 200),
    "inserts": lambda on, quick: inserts.comparison(on, seconds=1 if quick else 3),
    "dispatch": lambda on, _: dispatch.comparison(on, backlog=0),
    "dispatch-over-backlog": lambda on, quick: dispatch.comparison(
        on, backlog=20_000 if quick else 1_000_000
    ),
}
"""What is compared, all of it on one server."""


async def measure(names: Sequence[str], *, quick: bool, rounds: int, out: Path) -> None:
    """Measure what is named, print it, and write it down as it comes."""
    if "latency" in names:
        _keep(out, "latency", await latency.measure(200 if quick else 2000))
    if "first_answer" in names:
        _keep(out, "first_answer", await first_answer.measure(3 if quick else 20))
    if "idling" in names:
        _keep(out, "idling", await idling.measure(10 if quick else 60))
    if compared := [name for name in _BESIDE if name in names]:
        async with cluster() as on:
            for name in compared:
                await _compare(_BESIDE[name](on, quick), on, rounds=rounds, out=out)


async def _compare(comparison: Comparison, on: Cluster, *, rounds: int, out: Path) -> None:
    before = _load()
    results = await run(comparison, rounds=rounds, told=print)
    async with connected(on.dsn("postgres")) as connection:
        machine = await describe(connection)
    conditions = Conditions(machine, await on.settings(), before, _load(), rounds)
    kept = as_json(comparison, results, conditions)
    (out / f"{comparison.name}.json").write_text(json.dumps(kept, indent=2) + "\n")
    page = as_markdown(comparison, results, conditions)
    (out / f"{comparison.name}.md").write_text(page)
    print(f"\n{comparison.question}\n{as_text(rows(comparison, results))}\n")


def _keep(out: Path, name: str, found: dict[str, object]) -> None:
    text = json.dumps(found, indent=2)
    (out / f"{name}.json").write_text(text + "\n")
    print(f"{name}: {text}")


def _load() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def _names() -> Iterator[str]:
    yield from _ALONE
    yield from _BESIDE


def main() -> None:
    """Measure, print, and write a JSON file for each name; a comparison has a page as well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_names())}; all")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look")
    parser.add_argument("--rounds", type=int, help="of a comparison; 5, or 2 with --quick")
    parser.add_argument("--out", type=Path, default=_RESULTS, help="where the files go")
    arguments = parser.parse_args()
    names = arguments.names or list(_names())
    if unknown := set(names) - set(_names()):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(_names())}")
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.out.mkdir(parents=True, exist_ok=True)
    anyio.run(partial(measure, names, quick=arguments.quick, rounds=rounds, out=arguments.out))


if __name__ == "__main__":
    main()
