"""systemd hears what the daemon says, and pings only while the loops turn."""

import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from anyio.abc import UNIXDatagramSocket

from coordinator.daemon.progress import Progress
from coordinator.daemon.systemd import Notifier, keep_watchdog

LONG = timedelta(hours=1)
WATCHDOG = timedelta(seconds=0.05)


@asynccontextmanager
async def a_service_manager(address: str) -> AsyncIterator[UNIXDatagramSocket]:
    path = f"\0{address[1:]}" if address.startswith("@") else address
    async with await anyio.create_unix_datagram_socket(local_path=path) as manager:
        yield manager


async def heard(manager: UNIXDatagramSocket) -> str:
    with anyio.fail_after(5):
        message, _sender = await manager.receive()
    return message.decode()


async def silence(manager: UNIXDatagramSocket, *, lasting: timedelta) -> bool:
    """Whether nothing is heard for `lasting`, once what was sent before is read."""
    with anyio.move_on_after(0.01):
        while True:
            await manager.receive()
    with anyio.move_on_after(lasting.total_seconds()) as wait:
        await manager.receive()
    return wait.cancelled_caught


@pytest.fixture(params=["path", "abstract", "path with an at sign"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "abstract":
        return f"@coordinator-{uuid4()}"
    return str(tmp_path / ("notify" if request.param == "path" else "notify@1"))


async def test_the_service_manager_hears_that_the_service_is_ready(address: str) -> None:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": address})
    async with a_service_manager(address) as manager:
        notifier.ready("leading term 7")

        assert await heard(manager) == "READY=1\nSTATUS=leading term 7"


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (lambda it: it.status("standing by"), "STATUS=standing by"),
        (lambda it: it.stopping("draining"), "STOPPING=1\nSTATUS=draining"),
        (lambda it: it.ping_watchdog(), "WATCHDOG=1"),
    ],
    ids=["status", "stopping", "watchdog"],
)
async def test_every_message_is_one_datagram(
    say: Callable[[Notifier], None], message: str, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    async with a_service_manager(address) as manager:
        say(Notifier(address))

        assert await heard(manager) == message


async def test_a_reload_carries_its_time_in_the_same_datagram(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    async with a_service_manager(address) as manager:
        before = time.monotonic_ns() // 1000
        Notifier(address).reloading()

        reloading, _, stamp = (await heard(manager)).partition("\nMONOTONIC_USEC=")
        assert reloading == "RELOADING=1"
        assert before <= int(stamp) <= time.monotonic_ns() // 1000


async def test_a_status_cannot_smuggle_in_another_message(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    async with a_service_manager(address) as manager:
        Notifier(address).status("lost\nWATCHDOG=trigger")

        assert await heard(manager) == "STATUS=lost WATCHDOG=trigger"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nowhere/notify"},
        {"NOTIFY_SOCKET": "/" + "x" * 200},
    ],
    ids=["absent", "empty", "another family", "nobody there", "too long"],
)
def test_without_a_service_manager_nothing_happens(environ: dict[str, str]) -> None:
    Notifier.from_environ(environ).ready("nobody hears this")


def test_a_manager_that_does_not_read_holds_nothing_up_for_long(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            other.connect(address)
            with suppress(BlockingIOError):
                while True:
                    other.send(b"fill the queue")

        began = time.monotonic()
        Notifier(address).ping_watchdog()

    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, timedelta(seconds=30)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, timedelta(seconds=30)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 30}, None),
    ],
    ids=["any pid", "our pid", "another's", "absent", "zero", "no number", "beyond time"],
)
def test_the_watchdog_is_ours_only_if_systemd_says_so(
    environ: dict[str, str], expected: timedelta | None
) -> None:
    assert Notifier.from_environ(environ).watchdog == expected


async def test_the_watchdog_is_fed_while_the_loops_turn(tmp_path: Path) -> None:
    notifier, progress = Notifier(str(tmp_path / "notify"), WATCHDOG), Progress()
    async with (
        a_service_manager(str(tmp_path / "notify")) as manager,
        anyio.create_task_group() as background,
    ):
        with progress.watch("dispatch", within=LONG):
            background.start_soon(keep_watchdog, notifier, progress, pytest.fail)

            assert [await heard(manager) for _ in range(3)] == ["WATCHDOG=1"] * 3
        background.cancel_scope.cancel()


async def test_pings_stop_when_a_loop_stalls_and_return_with_its_progress(tmp_path: Path) -> None:
    notifier, progress = Notifier(str(tmp_path / "notify"), WATCHDOG), Progress()
    tell, stalls = anyio.create_memory_object_stream[str](10)
    async with (
        a_service_manager(str(tmp_path / "notify")) as manager,
        tell,
        stalls,
        anyio.create_task_group() as background,
    ):
        sweep_may_take = timedelta(seconds=0.2)
        with (
            progress.watch("dispatch", within=LONG),
            progress.watch("sweep", within=sweep_may_take),
        ):
            background.start_soon(keep_watchdog, notifier, progress, tell.send_nowait)
            with anyio.fail_after(5):
                assert await stalls.receive() == "sweep"
            assert await silence(manager, lasting=6 * WATCHDOG)
            assert stalls.statistics().current_buffer_used == 0, "one stall is told once"

            background.start_soon(_keep_turning, progress)

            assert await heard(manager) == "WATCHDOG=1"
            background.cancel_scope.cancel()


async def _keep_turning(progress: Progress) -> None:
    while True:
        progress.mark("sweep")
        await anyio.sleep(0.01)


async def test_each_stall_is_told_anew(tmp_path: Path) -> None:
    notifier, progress = Notifier(str(tmp_path / "notify"), WATCHDOG), Progress()
    tell, stalls = anyio.create_memory_object_stream[str](10)
    async with (
        a_service_manager(str(tmp_path / "notify")) as manager,
        tell,
        stalls,
        anyio.create_task_group() as background,
    ):
        background.start_soon(keep_watchdog, notifier, progress, tell.send_nowait)
        for _ in range(2):
            with progress.watch("sweep", within=timedelta(microseconds=1)), anyio.fail_after(5):
                assert await stalls.receive() == "sweep"
            await silence(manager, lasting=timedelta(0))
            assert await heard(manager) == "WATCHDOG=1"
        background.cancel_scope.cancel()


async def test_without_a_watchdog_there_is_nothing_to_keep() -> None:
    with anyio.fail_after(5):
        await keep_watchdog(Notifier(), Progress(), pytest.fail)


async def test_the_limit_of_the_start_is_put_off_only_while_it_starts(address: str) -> None:
    starting = True
    notifier = Notifier(address, WATCHDOG)
    async with a_service_manager(address) as manager, anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(keep_watchdog, starting=lambda: starting),
            *(notifier, Progress(), lambda _: None),
        )
        assert {await heard(manager) for _ in range(4)} == {
            "WATCHDOG=1",
            "EXTEND_TIMEOUT_USEC=50000",
        }

        starting = False

        assert [await heard(manager) for _ in range(6)][2:] == ["WATCHDOG=1"] * 4
        tasks.cancel_scope.cancel()
