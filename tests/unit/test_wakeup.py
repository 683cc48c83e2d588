"""The wake-up: rings coalesce, none is lost, and a strange payload means: look everywhere."""

import json
from datetime import timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.daemon.wakeup import WakeUp, Wanted, heard

NEVER = timedelta(hours=1)
NOW = timedelta(0)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_queued_names_addresses() -> None:
    assert heard('{"event": "queued", "addresses": ["ada", "reviewer"]}') == Wanted(
        addresses={"ada", "reviewer"}
    )


def test_idle_names_agents() -> None:
    assert heard('{"event": "idle", "agents": ["ada"]}') == Wanted(agents={"ada"})


@pytest.mark.parametrize("name", ["\\ud800", "\\udfff", "a\\u0000"])
def test_a_name_that_nobody_can_have_wakes_nobody_by_that_name(name: str) -> None:
    assert not heard(f'{{"event": "idle", "agents": ["{name}"]}}').agents


@pytest.mark.parametrize("event", ["blocked", "left", "occupied", "something new"])
def test_an_agent_that_did_not_become_free_wakes_nobody(event: str) -> None:
    assert not heard(json.dumps({"event": event, "agents": ["ada"]}))


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "hello",
        "[]",
        "17",
        "null",
        '"queued"',
        '{"event": "queued"}',
        '{"event": "queued", "addresses": "ada"}',
        '{"event": "queued", "addresses": [1]}',
        '{"event": "queued", "addresses": ["a\\u0000"]}',
        '{"event": "queued", "addresses": ["\\ud800"]}',
        f'{{"event": "queued", "addresses": ["{"x" * 129}"]}}',
        '{"event": "idle", "agents": {"ada": true}}',
        '{"event": "delayed", "addresses": []}',
        "[" * 7999,
        "1" * 7999,
    ],
    ids=lambda payload: payload[:50],
)
def test_what_names_nothing_readable_means_everywhere(payload: str) -> None:
    assert heard(payload) == Wanted(everywhere=True)


@given(st.text())
def test_no_text_is_too_strange(payload: str) -> None:
    assert isinstance(heard(payload), Wanted)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "event": json_values | st.sampled_from(["queued", "idle", "delayed"]),
            "addresses": json_values,
            "agents": json_values,
        },
    )
)
def test_whatever_is_wanted_can_be_sent_to_the_database(payload: dict[str, object]) -> None:
    wanted = heard(json.dumps(payload))

    for name in wanted.addresses | wanted.agents:
        assert "\0" not in name.encode().decode()


async def test_rings_before_the_wait_are_heard_at_once_and_together() -> None:
    wake_up = WakeUp()
    wake_up.ring_for(Wanted(addresses={"ada"}))
    wake_up.ring_for(Wanted(addresses={"bob"}, agents={"eve"}))

    assert await wake_up.wait(NEVER) == Wanted(addresses={"ada", "bob"}, agents={"eve"})


async def test_a_ring_ends_a_wait() -> None:
    wake_up = WakeUp()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.lowlevel.checkpoint)
        tasks.start_soon(_ring, wake_up)

        wanted = await wake_up.wait(NEVER)

    assert wanted.everywhere


async def test_what_was_heard_is_not_heard_again() -> None:
    wake_up = WakeUp()
    wake_up.ring()
    await wake_up.wait(NEVER)

    assert not await wake_up.wait(NOW)


async def test_a_ring_during_a_pass_belongs_to_the_next_one() -> None:
    wake_up = WakeUp()
    wake_up.ring_for(Wanted(addresses={"ada"}))
    during = await wake_up.wait(NEVER)
    wake_up.ring_for(Wanted(addresses={"bob"}))

    assert during == Wanted(addresses={"ada"})
    assert await wake_up.wait(NEVER) == Wanted(addresses={"bob"})


async def test_very_many_names_become_everywhere_and_take_no_memory() -> None:
    wake_up = WakeUp()
    for start in range(0, 100_000, 100):
        wake_up.ring_for(Wanted(addresses={f"ghost-{n}" for n in range(start, start + 100)}))

    wanted = await wake_up.wait(NEVER)

    assert wanted.everywhere
    assert not wanted.at_once
    assert len(wanted.addresses) <= 1000


async def test_what_the_daemon_asks_for_itself_is_wanted_at_once_and_stays_so() -> None:
    wake_up = WakeUp()
    wake_up.ring()
    for number in range(2000):
        wake_up.ring_for(Wanted(agents={f"ghost-{number}"}))

    wanted = await wake_up.wait(NEVER)

    assert wanted.everywhere
    assert wanted.at_once


async def test_another_look_at_very_many_names_keeps_them() -> None:
    wake_up = WakeUp()
    names = {f"agent-{n}" for n in range(5000)}
    wake_up.ring_again(Wanted(addresses=names))

    assert await wake_up.wait(NEVER) == Wanted(addresses=names)


async def test_a_time_in_the_past_is_no_wait() -> None:
    assert not await WakeUp().wait(timedelta(seconds=-1))


async def _ring(wake_up: WakeUp) -> None:
    wake_up.ring()
