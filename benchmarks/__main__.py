"""Measure everything and keep it: `python -m benchmarks [--quick] [--out DIRECTORY]`."""

import argparse
import json
from functools import partial
from pathlib import Path

import anyio

from benchmarks import first_answer, idling, latency

_RESULTS = Path(__file__).with_name("results")


async def measure(*, quick: bool) -> dict[str, dict[str, object]]:
    """Measure everything; by name of the benchmark."""
    return {
        "latency": await latency.measure(200 if quick else 2000),
        "first_answer": await first_answer.measure(3 if quick else 20),
        "idling": await idling.measure(10 if quick else 60),
    }


def main() -> None:
    """Measure, print, and write one JSON file a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--out", type=Path, default=_RESULTS, help="where the JSON files go")
    arguments = parser.parse_args()
    figures = anyio.run(partial(measure, quick=arguments.quick))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, found in figures.items():
        text = json.dumps(found, indent=2)
        (arguments.out / f"{name}.json").write_text(text + "\n")
        print(f"{name}: {text}")


if __name__ == "__main__":
    main()
