"""The rows of the table in decision 0021; `python -m tests.model.doorbell.table` writes them."""

import sys

from tests.model.doorbell.explorer import Finding, explore
from tests.model.doorbell.variants import HOLD, LOSE, Variant


def row(variant: Variant, finding: Finding) -> str:
    """One line of the table: the variant, how many states were seen, what came of it and why."""
    came = "holds" if finding.holds else f"**loses** in {len(finding.loss) - 1}"
    return f"| {variant.name} | {finding.states:,} | {came}: {variant.why} |"


if __name__ == "__main__":
    for variant in (*LOSE, *HOLD):
        sys.stdout.write(row(variant, explore(variant.scene, variant.protocol)) + "\n")
