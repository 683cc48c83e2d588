"""Whether a run kept the promises: nothing lost, doubled, overlapping, overtaken or unlogged.

Pure: it decides over a `History` alone. It never cries wolf: whatever may have been right passes.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from tests.faults.checking.chains import chains
from tests.faults.checking.clients import accepted, cancels, keys, lost, refused, verdicts
from tests.faults.checking.lives import Lives, rows_that_disagree
from tests.faults.checking.log import told_again, unlogged
from tests.faults.checking.order import overtakings
from tests.faults.checking.record import Event, History, Row, Rule, Violation

__all__ = ["Event", "History", "Row", "Rule", "Violation", "violations"]

MOST_OF_A_RULE = 20
"""How many violations of one rule are told; what follows is only counted."""


def violations(history: History) -> list[Violation]:
    """Say where a history breaks a promise; empty if nowhere."""
    told: list[Violation] = []
    found: Counter[Rule] = Counter()
    for violation in _all(history):
        found[violation.rule] += 1
        if found[violation.rule] <= MOST_OF_A_RULE:
            told.append(violation)
    more = {rule: count - MOST_OF_A_RULE for rule, count in found.items()}
    told += [Violation(rule, f"and {count} more") for rule, count in more.items() if count > 0]
    return told


def _all(history: History) -> Iterator[Violation]:
    lives = Lives.read(history.events)
    acknowledged = {
        note.handoff_id
        for note in history.notes
        if note.saw == "acknowledged" and note.handoff_id is not None
    }
    return chain(
        lives.violations,
        rows_that_disagree(lives, history.rows, acknowledged),
        lost(history, lives),
        refused(history),
        keys(history, lives),
        accepted(history, lives),
        verdicts(history, lives),
        cancels(history, lives),
        chains(history.rows, lives),
        overtakings(history, lives),
        unlogged(history.events, history.log),
        told_again(history.log),
    )
