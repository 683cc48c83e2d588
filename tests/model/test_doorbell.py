"""No order of things loses a wake-up, and every shortcut that looks as good does lose one.

The protocol is told in `doorbell.protocol`, PostgreSQL's part in `doorbell.postgres`.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path

import pytest

from tests.model.doorbell import scenes
from tests.model.doorbell.explorer import Finding, explore, next_steps
from tests.model.doorbell.form import form
from tests.model.doorbell.postgres import Transactions
from tests.model.doorbell.protocol import OURS, Deed, Protocol
from tests.model.doorbell.table import row
from tests.model.doorbell.variants import HOLD, LOSE, Variant
from tests.model.doorbell.world import Scene, World, opening, overlooked

Form = tuple[Hashable, ...]
DECISION = Path(__file__).parents[2] / "docs/decisions/0021-the-daemon-hushes-who-would-ring.md"

SCENES = {
    "two strangers": scenes.TWO_STRANGERS,
    "a handoff, and who frees its agent": scenes.TWO_HALVES,
    "aborts and savepoints": scenes.SAVEPOINTS,
    "a heartbeat locks the agent": scenes.A_HEARTBEAT,
    "one transaction hands off to two": scenes.TWO_ROWS,
    "leaders die": scenes.A_SUCCESSOR,
    "leaders die amid halves": scenes.A_SUCCESSOR_FOR_HALVES,
    "leaders and servers die, writers abort": scenes.ALL_AT_ONCE,
}
LARGE_SCENES = {
    "one hands off to two, beside a stranger": scenes.TWO_ROWS_AND_A_STRANGER,
    "long transactions elsewhere": scenes.ELSEWHERE,
    "an agent completes and gets the next": scenes.THE_AGENT_COMPLETES,
    "three strangers": scenes.THREE_STRANGERS,
    "halves beside a stranger": scenes.HALVES_AND_A_STRANGER,
    "leaders die amid three strangers": scenes.A_SUCCESSOR_FOR_THREE,
    "four strangers": scenes.FOUR_STRANGERS,
}


def named(variants: Sequence[Variant]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("variant", variants, ids=lambda variant: variant.name)


def look_everywhere(scene: Scene, protocol: Protocol) -> Finding:
    """Explore, and refuse a leader that loses nothing because it cannot come to its sleep."""
    finding = explore(scene, protocol)
    assert finding.holds, finding
    assert finding.asleep
    assert finding.trapped == 0
    return finding


@pytest.mark.parametrize("name", SCENES)
def test_no_order_of_things_loses_a_wake_up(name: str) -> None:
    look_everywhere(SCENES[name], OURS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.exhaustive] if name == "four strangers" else [])
        for name in LARGE_SCENES
    ],
)
def test_no_order_of_many_things_loses_a_wake_up(name: str) -> None:
    look_everywhere(LARGE_SCENES[name], OURS)


@named(LOSE)
def test_a_shortcut_loses_a_wake_up(variant: Variant) -> None:
    finding = explore(variant.scene, variant.protocol)

    assert not finding.holds, f"expected a loss: {variant.why}"
    assert row(variant, finding) in DECISION.read_text(), finding


def test_where_a_shortcut_loses_ours_was_searched() -> None:
    searched = {*SCENES.values(), *LARGE_SCENES.values()}

    assert [one.name for one in LOSE if one.scene not in searched] == []


@named(HOLD)
def test_another_way_is_as_safe(variant: Variant) -> None:
    finding = look_everywhere(variant.scene, variant.protocol)

    assert row(variant, finding) in DECISION.read_text(), finding


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SCENES)
@named(HOLD)
def test_another_way_is_as_safe_everywhere(variant: Variant, name: str) -> None:
    look_everywhere(SCENES[name], variant.protocol)


def test_a_leader_whose_debt_is_never_paid_is_trapped() -> None:
    never = Protocol(settle=(Deed.TAKE_RINGS, Deed.READ_ON, Deed.LOOK))

    finding = explore(scenes.A_HEARTBEAT, never)

    assert finding.holds
    assert finding.trapped == finding.states


def test_a_loss_is_told_in_plain_words() -> None:
    (variant,) = (one for one in LOSE if one.name == "debt is the xmax of a snapshot")

    told = str(explore(variant.scene, variant.protocol)).splitlines()

    assert told[-7:] == [
        '  9. Writer 1 writes a handoff at A, and its trigger reads the flag: "hush", it stays '
        "silent.",
        ' 10. The leader sets the flag to "ring".',
        " 11. The leader takes the xmax of snapshot 101:101: for its debt.",
        " 12. The leader takes up what rang: nothing.",
        " 13. The leader reads the trail up to 101:101: and learns of nothing; xmin has reached "
        "101, nothing is owed.",
        " 14. Writer 1 commits, and nothing rings.",
        " 15. The leader sleeps, nothing is on its way, and a handoff waits at A.",
    ]


def test_the_newest_running_transaction_is_in_no_list() -> None:
    assert str(Transactions().begun().snapshot()) == "101:101:"


def test_one_that_ends_brings_those_before_it_into_the_list() -> None:
    two_run = Transactions().begun().begun()

    snapshot = two_run.ended(102).snapshot()

    assert str(snapshot) == "101:103:101"
    assert snapshot.sees(102)
    assert not snapshot.sees(101)


def test_what_is_left_out_of_a_state_has_no_consequences() -> None:
    follow_every_way(scenes.TWO_HALVES, OURS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_what_is_left_out_of_any_state_has_none_either(name: str) -> None:
    follow_every_way(SCENES[name], OURS)


@pytest.mark.slow
@pytest.mark.exhaustive
@named((*LOSE, *HOLD))
def test_what_is_left_out_under_a_variant_has_none_either(variant: Variant) -> None:
    follow_every_way(variant.scene, variant.protocol)


def follow_every_way(scene: Scene, protocol: Protocol) -> None:
    """Refuse two worlds of one form from which different forms follow."""
    first = opening(scene)
    follow = {form(first, protocol): what_follows(first, scene, protocol)}
    worlds = [first]
    while worlds:
        for _, after in next_steps(worlds.pop(), scene, protocol):
            known, follows = form(after, protocol), what_follows(after, scene, protocol)
            if known not in follow:
                worlds.append(after)
            assert follow.setdefault(known, follows) == follows, after


def what_follows(world: World, scene: Scene, protocol: Protocol) -> tuple[bool, set[Form]]:
    later = {form(after, protocol) for _, after in next_steps(world, scene, protocol)}
    return bool(overlooked(world)), later
