"""A loop that stands still is named, and nothing else is."""

from datetime import timedelta

import anyio
import pytest

from coordinator.daemon.progress import Progress

AT_ONCE = timedelta(microseconds=1)
LONG = timedelta(hours=1)


async def test_a_loop_that_has_just_begun_is_not_stalled() -> None:
    progress = Progress()

    with progress.watch("dispatch", within=LONG):
        assert progress.stalled() == []


async def test_a_loop_without_progress_is_stalled_and_the_others_are_not() -> None:
    progress = Progress()

    with progress.watch("sweep", within=AT_ONCE), progress.watch("dispatch", within=LONG):
        await anyio.sleep(0.001)

        assert progress.stalled() == ["sweep"]


async def test_progress_ends_a_stall() -> None:
    progress = Progress()
    with progress.watch("sweep", within=timedelta(seconds=0.3)):
        await anyio.sleep(0.31)
        assert progress.stalled() == ["sweep"]

        progress.mark("sweep")

        assert progress.stalled() == []


async def test_a_loop_that_has_ended_is_not_stalled() -> None:
    progress = Progress()

    with progress.watch("sweep", within=AT_ONCE):
        await anyio.sleep(0.001)

    assert progress.stalled() == []


async def test_a_loop_that_has_failed_may_begin_again() -> None:
    progress = Progress()
    with pytest.raises(ConnectionError), progress.watch("link", within=LONG):
        raise ConnectionError

    with progress.watch("link", within=LONG):
        assert [silence.loop for silence in progress.silences()] == ["link"]


async def test_silences_tell_how_long_and_how_long_is_allowed() -> None:
    progress = Progress()

    with progress.watch("tail", within=LONG):
        [silence] = progress.silences()

    assert timedelta(0) <= silence.lasted < LONG
    assert silence.allowed == LONG


async def test_two_loops_of_one_name_are_refused() -> None:
    progress = Progress()

    with (
        progress.watch("sweep", within=LONG),
        pytest.raises(ValueError, match="'sweep' is already watched"),
        progress.watch("sweep", within=LONG),
    ):
        pass


@pytest.mark.parametrize("within", [timedelta(0), timedelta(seconds=-1)])
async def test_a_loop_must_be_given_time(within: timedelta) -> None:
    with (
        pytest.raises(ValueError, match="time above zero"),
        Progress().watch("sweep", within=within),
    ):
        pass


async def test_a_mark_of_an_unknown_loop_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="swepe"):
        Progress().mark("swepe")
