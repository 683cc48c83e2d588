"""The health socket answers probes whatever else its clients do."""

import json
import os
import random
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from coordinator.core.errors import ConfigError, ExitCode
from coordinator.daemon.addresses import Address, TcpAddress, UnixAddress, parse_address
from coordinator.daemon.health import serve_health
from coordinator.daemon.health_client import HealthUnreachable, fetch_health
from coordinator.daemon.health_state import Health, HealthState, Role
from coordinator.daemon.http import Limits
from coordinator.daemon.progress import Progress

LOOPBACK = TcpAddress("127.0.0.1", 0)
LONG = timedelta(hours=1)
AT_ONCE = timedelta(microseconds=1)
SOON = timedelta(seconds=30)


def a_state(**fields: object) -> Health:
    """A leader that is ready, but for what `fields` say."""
    state = HealthState(
        version="1.2.3",
        started_at=anyio.current_time() - 60,
        role=Role.LEADER,
        term=7,
        schema_ok=True,
        listener_up=True,
        first_scan_done=True,
    )
    return Health(replace(state, **fields))  # type: ignore[arg-type]


@asynccontextmanager
async def served(
    *addresses: Address,
    health: Health | None = None,
    progress: Progress | None = None,
    metrics: Callable[[], bytes] = bytes,
    limits: Limits | None = None,
) -> AsyncIterator[list[Address]]:
    """A health socket for the length of the block; gives the addresses it is bound to."""
    async with anyio.create_task_group() as background:
        bound = await background.start(
            partial(
                serve_health,
                addresses or (LOOPBACK,),
                health or a_state(),
                progress or Progress(),
                metrics,
                limits=limits,
            )
        )
        yield bound
        background.cancel_scope.cancel()


async def get(address: Address, path: str) -> tuple[int, str]:
    status, body = await fetch_health(address, path, within=SOON)
    return status, body.decode()


async def connected(address: Address) -> SocketStream:
    assert isinstance(address, TcpAddress)
    return await anyio.connect_tcp(address.host, address.port)


async def said(address: Address, request: bytes) -> bytes:
    """All that comes back for `request`, until the other side closes."""
    answer = b""
    with anyio.fail_after(30):
        async with await connected(address) as client:
            await client.send(request)
            async for chunk in client:
                answer += chunk
    return answer


# --- what it answers ----------------------------------------------------------------------------


async def test_tcp_and_unix_socket_answer_alike(tmp_path: Path) -> None:
    async with served(LOOPBACK, UnixAddress(tmp_path / "health.sock")) as [tcp, unix]:
        assert await get(tcp, "/livez") == await get(unix, "/livez") == (200, "ok\n")


async def test_livez_names_the_loops_that_stand_still() -> None:
    progress = Progress()
    with progress.watch("sweep", within=AT_ONCE), progress.watch("dispatch", within=LONG):
        async with served(progress=progress) as [address]:
            assert await get(address, "/livez") == (503, "stalled: sweep\n")


async def test_livez_is_well_again_once_the_loop_turns() -> None:
    progress = Progress()
    async with served(progress=progress) as [address]:
        with progress.watch("sweep", within=AT_ONCE):
            assert (await get(address, "/livez"))[0] == 503

        with progress.watch("sweep", within=LONG):
            assert (await get(address, "/livez"))[0] == 200


async def test_verbose_livez_shows_every_loop() -> None:
    progress = Progress()
    with progress.watch("sweep", within=AT_ONCE), progress.watch("dispatch", within=LONG):
        async with served(progress=progress) as [address]:
            _status, text = await get(address, "/livez?verbose")

    head, dispatch, sweep = text.splitlines()
    assert head == "stalled: sweep"
    assert dispatch.startswith("[+] dispatch: ")
    assert dispatch.endswith("3600 s allowed")
    assert sweep.startswith("[-] sweep: ")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (200, "ok: leader\n")),
        ({"role": Role.STANDBY, "term": None}, (200, "ok: standby\n")),
        (
            {"role": Role.STANDBY, "listener_up": False, "first_scan_done": False},
            (200, "ok: standby\n"),
        ),
        ({"role": Role.NONE}, (503, "not ready: neither leader nor standby\n")),
        ({"listener_up": False}, (503, "not ready: listener not proven\n")),
        ({"first_scan_done": False}, (503, "not ready: no full scan yet\n")),
        ({"draining": True}, (503, "not ready: draining\n")),
        (
            {"role": Role.STANDBY, "schema_ok": False, "draining": True},
            (503, "not ready: schema not checked or not the right one, draining\n"),
        ),
    ],
    ids=["leader", "standby", "quiet standby", "none", "deaf", "unscanned", "draining", "both"],
)
async def test_readyz_says_what_is_missing(
    fields: dict[str, object], expected: tuple[int, str]
) -> None:
    async with served(health=a_state(**fields)) as [address]:
        assert await get(address, "/readyz") == expected


async def test_verbose_readyz_shows_every_check() -> None:
    async with served(health=a_state(listener_up=False)) as [address]:
        _status, text = await get(address, "/readyz?verbose")

    assert text.splitlines() == [
        "not ready: listener not proven",
        "[+] role",
        "[+] schema",
        "[+] draining",
        "[-] listener",
        "[+] scan",
    ]


async def test_readyz_follows_the_daemon() -> None:
    health = a_state()
    async with served(health=health) as [address]:
        assert (await get(address, "/readyz"))[0] == 200

        health.now = replace(health.now, draining=True)

        assert (await get(address, "/readyz"))[0] == 503


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"first_scan_done": False}, (503, "starting\n")),
        ({"role": Role.STANDBY, "first_scan_done": False}, (200, "started\n")),
        ({"role": Role.NONE, "listener_up": False}, (200, "started\n")),
    ],
    ids=["before the first scan", "standing by", "cut off later"],
)
async def test_startupz_tells_whether_the_start_is_over(
    fields: dict[str, object], expected: tuple[int, str]
) -> None:
    async with served(health=a_state(**fields)) as [address]:
        assert await get(address, "/startupz") == expected


async def test_metrics_are_given_as_prometheus_text() -> None:
    text = b"# TYPE coordinator_dispatched_total counter\ncoordinator_dispatched_total 3.0\n"
    async with served(metrics=lambda: text) as [address]:
        answer = await said(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert b"Connection: close" in head
    assert body == text


async def test_metrics_are_made_a_few_times_a_second_however_often_they_are_asked_for() -> None:
    made = 0

    def make() -> bytes:
        nonlocal made
        made += 1
        return b"%d" % made

    async with served(metrics=make) as [address]:
        began = anyio.current_time()
        answers = {await get(address, "/metrics") for _ in range(100)}
        lasted = anyio.current_time() - began

        assert made == len(answers) <= 1 + lasted / 0.1
        await anyio.sleep(0.1)  # the age of the kept answer
        assert await get(address, "/metrics") == (200, str(made))


async def test_status_is_the_snapshot_as_json() -> None:
    health = a_state(
        last_pass_at={"sweep": anyio.current_time() - 5}, counters={"dispatched": 3, "passes": 9}
    )
    async with served(health=health) as [address]:
        _status, text = await get(address, "/status")

    status = json.loads(text)
    assert 60 <= status.pop("uptime_s") < 90
    assert 5 <= status.pop("last_pass_ago_s")["sweep"] < 35
    assert status == {
        "version": "1.2.3",
        "role": "leader",
        "term": 7,
        "ready": True,
        "schema_ok": True,
        "listener_up": True,
        "first_scan_done": True,
        "draining": False,
        "trouble": None,
        "stalled": [],
        "counters": {"dispatched": 3, "passes": 9},
    }


async def test_an_unknown_path_is_not_found_and_the_known_ones_are_named() -> None:
    async with served() as [address]:
        status, text = await get(address, "/")

    assert status == 404
    assert "/livez /readyz /startupz /metrics /status" in text


async def test_head_gives_the_head_alone() -> None:
    async with served() as [address]:
        answer = await said(address, b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


# --- what clients may do to it ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"DELETE /livez HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 60_000, b"431"),
        (b"\0" * 60_000, b"400"),
        (b"GET /livez HTTP/1.0\r\n\r\n", b"200"),
    ],
    ids=["post", "delete", "no host", "tls", "http 0.9", "long head", "zeros", "http 1.0"],
)
async def test_every_request_gets_its_status(request_: bytes, status: bytes) -> None:
    async with served() as [address]:
        answer = await said(address, request_)

    assert answer.split()[1] == status
    assert b"Connection: close" in answer


async def test_a_refused_method_is_told_the_allowed_ones_though_its_body_is_not_read() -> None:
    body = b"x" * 100_000
    async with served() as [address]:
        answer = await said(
            address, b"PUT /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + body
        )

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD\r\n" in answer


async def test_a_client_that_says_nothing_is_dropped() -> None:
    async with served(limits=Limits(request=timedelta(seconds=0.2))) as [address]:
        assert await said(address, b"GET /livez HT") == b""


async def test_a_client_that_drips_bytes_is_dropped_all_the_same() -> None:
    limits = Limits(request=timedelta(seconds=0.2))
    async with served(limits=limits) as [address], await connected(address) as client:
        await client.send(b"GET /livez HTTP/1.1\r\n")
        with anyio.fail_after(30), pytest.raises(anyio.BrokenResourceError):
            await _drip(client)


async def _drip(client: SocketStream) -> None:
    while True:
        await client.send(b"X: x\r\n")
        await anyio.sleep(0.01)


async def test_slow_clients_make_room_for_a_probe() -> None:
    limits = Limits(connections=4, request=LONG)
    async with served(limits=limits) as [address], idle_clients(address, 20):
        assert await get(address, "/livez") == (200, "ok\n")


async def test_only_as_many_slow_clients_as_need_be_lose_their_places() -> None:
    limits = Limits(connections=4, request=LONG)
    async with served(limits=limits) as [address], idle_clients(address, 4) as slow:
        await get(address, "/livez")

        assert [await is_dropped(client) for client in slow] == [True, False, False, False]


async def test_a_client_that_had_no_time_yet_is_not_disturbed() -> None:
    limits = Limits(connections=1, undisturbed=LONG)
    async with (
        served(limits=limits) as [address],
        idle_clients(address, 1) as [slow],
        anyio.create_task_group() as waiting,
    ):
        waiting.start_soon(get, address, "/livez")
        await slow.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")

        assert (await slow.receive()).startswith(b"HTTP/1.1 200 ")
        await slow.aclose()


@asynccontextmanager
async def idle_clients(address: Address, count: int) -> AsyncIterator[list[SocketStream]]:
    """So many clients that say nothing, one after the other."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await connected(address)) for _ in range(count)]


async def is_dropped(client: SocketStream) -> bool:
    with anyio.move_on_after(0.1):
        try:
            await client.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True
    return False


async def test_slow_clients_of_one_listener_do_not_hold_up_the_other(tmp_path: Path) -> None:
    limits = Limits(connections=4, request=LONG)
    async with served(LOOPBACK, UnixAddress(tmp_path / "s"), limits=limits) as [tcp, unix]:
        slow = [await connected(tcp) for _ in range(8)]

        assert await get(unix, "/livez") == (200, "ok\n")

        for client in slow:
            await client.aclose()


async def test_two_hundred_clients_at_once_are_all_answered() -> None:
    answers = []

    async def probe(address: Address) -> None:
        answers.append(await get(address, "/livez"))

    async with served() as [address], anyio.create_task_group() as probes:
        for _ in range(200):
            probes.start_soon(probe, address)

    assert answers == [(200, "ok\n")] * 200


async def test_a_client_that_resets_the_connection_disturbs_nobody() -> None:
    async with served() as [address]:
        for word in (b"", b"GET /li", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"):
            client = await connected(address)
            await client.send(word or b"G")
            raw = client.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await client.aclose()

        assert await get(address, "/livez") == (200, "ok\n")


@pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_clients_that_leave_at_any_instant_disturb_nobody(use_uvloop: bool, tmp_path: Path) -> None:
    async def be_left() -> None:
        unix = UnixAddress(tmp_path / "health.sock")
        async with served(LOOPBACK, unix, metrics=lambda: b"x" * 500_000) as addresses:
            for address in addresses:
                await anyio.to_thread.run_sync(_come_and_leave, address, 300)
                assert await get(address, "/livez") == (200, "ok\n")

    anyio.run(be_left, backend_options={"use_uvloop": use_uvloop})


def _come_and_leave(address: Address, times: int) -> None:
    family, where = (
        (socket.AF_INET, (address.host, address.port))
        if isinstance(address, TcpAddress)
        else (socket.AF_UNIX, str(address.path))
    )
    for turn in range(times):
        with socket.socket(family) as client, suppress(ConnectionError):
            client.connect(where)
            client.send(b"GET /%s HTTP/1.0\r\n\r\n" % random.choice([b"livez", b"metrics"]))
            if turn % 3 == 0:
                client.recv(10)
            if turn % 3 == 1:
                client.shutdown(socket.SHUT_WR)
            reset = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)


async def test_a_client_that_only_connects_disturbs_nobody() -> None:
    async with served() as [address]:
        await (await connected(address)).aclose()

        assert await get(address, "/livez") == (200, "ok\n")


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    text = b"x" * 8_000_000
    async with served(metrics=lambda: text) as [address]:
        received = 0
        async with await connected(address) as client:
            await client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            with anyio.fail_after(30):
                async for chunk in client:
                    received += len(chunk)
                    await anyio.sleep(0.001)

    assert received > len(text)


async def test_a_client_that_never_reads_is_dropped() -> None:
    text = b"x" * 30_000_000
    limits = Limits(connections=1, request=timedelta(seconds=0.2))
    async with (
        served(metrics=lambda: text, limits=limits) as [address],
        await connected(address) as client,
    ):
        await client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")

        assert await get(address, "/livez") == (200, "ok\n")


async def test_a_lack_of_file_descriptors_passes() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with served() as [address]:
        assert isinstance(address, TcpAddress)
        with socket.socket() as client:
            client.connect((address.host, address.port))
            client.send(b"GET /livez HTTP/1.0\r\n\r\n")
            client.setblocking(False)
            with ExitStack() as hoard:
                hoard.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
                resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
                _take_all_descriptors(hoard)
                with anyio.move_on_after(0.05) as nobody_answers:
                    await anyio.wait_readable(client)
                assert nobody_answers.cancelled_caught

            with anyio.fail_after(30):
                await anyio.wait_readable(client)
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


def _take_all_descriptors(hoard: ExitStack) -> None:
    with suppress(OSError):
        while True:
            hoard.callback(os.close, os.dup(0))


# --- where it listens ---------------------------------------------------------------------------


async def test_a_port_in_use_is_an_error_with_a_way_out() -> None:
    async with served() as [taken]:
        with pytest.raises(ConfigError) as caught:
            await serve_health([taken], a_state(), Progress(), bytes)

    assert caught.value.what == f"the health socket cannot listen on {taken}"
    assert "already in use" in str(caught.value)
    assert "set health_tcp to another port" in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
async def test_an_address_that_this_machine_has_not_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match="Set health_tcp to an address of this machine"):
        await serve_health([TcpAddress(host, 0)], a_state(), Progress(), bytes)


async def test_if_one_address_cannot_be_had_the_others_are_given_back(tmp_path: Path) -> None:
    unix = UnixAddress(tmp_path / "health.sock")
    with pytest.raises(ConfigError):
        await serve_health([unix, TcpAddress("192.0.2.1", 0)], a_state(), Progress(), bytes)

    assert not unix.path.exists()


async def test_no_address_means_no_socket() -> None:
    async with anyio.create_task_group() as background:
        bound = await background.start(partial(serve_health, (), a_state(), Progress(), bytes))

    assert bound == []


async def test_the_unix_socket_is_for_the_user_and_the_group(tmp_path: Path) -> None:
    async with served(UnixAddress(tmp_path / "health.sock")):
        assert (tmp_path / "health.sock").stat().st_mode & 0o777 == 0o660


async def test_the_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    async with served(UnixAddress(tmp_path / "health.sock")):
        pass

    assert not (tmp_path / "health.sock").exists()


async def test_the_socket_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))

    async with served(UnixAddress(path)) as [address]:
        assert await get(address, "/livez") == (200, "ok\n")


async def test_the_socket_of_a_living_daemon_is_left_alone(tmp_path: Path) -> None:
    async with served(UnixAddress(tmp_path / "health.sock")) as [address]:
        with pytest.raises(ConfigError, match="Stop the daemon that listens there"):
            await serve_health([address], a_state(), Progress(), bytes)

        assert await get(address, "/livez") == (200, "ok\n")


async def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    async with served(UnixAddress(path)):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))

    assert path.is_socket()


async def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")

    with pytest.raises(ConfigError, match="set health_socket to another path"):
        await serve_health([UnixAddress(path)], a_state(), Progress(), bytes)

    assert path.read_text() == "precious"


@pytest.mark.parametrize("leads_to", ["a file", "a socket", "nothing"])
async def test_a_link_at_the_path_is_neither_followed_nor_removed(
    leads_to: str, tmp_path: Path
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "health.sock"
    with ExitStack() as kept:
        match leads_to:
            case "a file":
                victim.write_text("precious")
                victim.chmod(0o600)
            case "a socket":
                kept.enter_context(socket.socket(socket.AF_UNIX)).bind(str(victim))
        path.symlink_to(victim)

        with pytest.raises(ConfigError, match="set health_socket to another path"):
            await serve_health([UnixAddress(path)], a_state(), Progress(), bytes)

    assert path.is_symlink()
    assert victim.exists() == (leads_to != "nothing")
    if leads_to == "a file":
        assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("precious", 0o600)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_the_umask_has_no_say_in_who_may_ask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        async with served(UnixAddress(tmp_path / "health.sock")):
            assert (tmp_path / "health.sock").stat().st_mode & 0o777 == 0o660
            assert os.umask(umask) == umask
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["no/such/folder/s", "x" * 120])
async def test_a_path_that_cannot_be_had_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 107 bytes in a folder that it may write"):
        await serve_health([UnixAddress(tmp_path / name)], a_state(), Progress(), bytes)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8787", TcpAddress("127.0.0.1", 8787)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:8787", TcpAddress("::1", 8787)),
        ("/run/coordinator/health.sock", UnixAddress(Path("/run/coordinator/health.sock"))),
    ],
)
def test_an_address_reads_as_it_is_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


def test_a_unix_address_may_name_its_kind() -> None:
    assert parse_address("unix:/run/s") == UnixAddress(Path("/run/s"))


def test_off_is_no_address() -> None:
    assert parse_address("off") is None


@pytest.mark.parametrize(
    "text",
    ["", "8787", ":8787", "localhost", "localhost:", "localhost:http", "localhost:65536", "a:-1",
     "::1:8787", "[::1]", "[localhost]:8787", "unix:relative", "a:\N{SUPERSCRIPT TWO}"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"Write 127\.0\.0\.1:8787, ") as caught:
        parse_address(text)

    assert repr(text) in caught.value.what


# --- asking it ----------------------------------------------------------------------------------


async def test_asking_where_nobody_listens_says_so(tmp_path: Path) -> None:
    for address in (TcpAddress("127.0.0.1", 1), UnixAddress(tmp_path / "none")):
        with pytest.raises(HealthUnreachable, match="no daemon answers at") as caught:
            await fetch_health(address, "/livez", within=SOON)

        assert caught.value.exit_code is ExitCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "No answer came within 0:00:00.3"),
        (b"220 mail ready\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "No answer came within 0:00:00.3"),
    ],
    ids=["mute", "another protocol", "half an answer"],
)
async def test_asking_somebody_strange_ends_in_time(answer: bytes, why: str) -> None:
    async def be_strange(client: SocketStream) -> None:
        async with client:
            await client.send(answer)
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as background:
            background.start_soon(listener.serve, be_strange)
            with pytest.raises(HealthUnreachable, match=why):
                await fetch_health(
                    TcpAddress("127.0.0.1", port), "/livez", within=timedelta(seconds=0.3)
                )
            background.cancel_scope.cancel()


async def test_asking_somebody_who_hangs_up_says_so() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as background:
            background.start_soon(listener.serve, _hang_up)
            with pytest.raises(HealthUnreachable, match="no daemon answers at"):
                await fetch_health(TcpAddress("127.0.0.1", port), "/livez", within=SOON)
            background.cancel_scope.cancel()


async def _hang_up(client: SocketStream) -> None:
    async with client:
        await client.receive()
