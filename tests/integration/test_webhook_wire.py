"""One POST of a webhook, to receivers that mean harm, and to addresses that are none of its own."""

import socket
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import anyio
import pytest

from coordinator.agents.webhook.addresses import Reach
from coordinator.agents.webhook.target import Target
from coordinator.agents.webhook.wire import MOST_BYTES, Reply, Unreached, Wire
from tests.support.certificates import OPENSSL, Authority
from tests.support.webhook import (
    Answer,
    Received,
    Receiver,
    dripping_json,
    endless_head,
    endless_json,
    endless_text,
    never,
    receiving,
    said,
    status,
)

LOOPBACK = Reach([ip_network("127.0.0.0/8")])
BODY = b'{"type": "handoff.dispatched"}'
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl program")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def post(
    url: str, reach: Reach = LOOPBACK, *, ca_file: Path | None = None, within_s: float = 10
) -> Reply:
    wire = Wire(Target.parse(url), reach, ca_file=ca_file)
    within = timedelta(seconds=within_s)
    return await wire.post({"webhook-id": "one"}, BODY, within=within, wants_answer=True)


async def unreached(
    url: str, reach: Reach = LOOPBACK, *, ca_file: Path | None = None, within_s: float = 10
) -> Unreached:
    with pytest.raises(Unreached) as found:
        await post(url, reach, ca_file=ca_file, within_s=within_s)
    return found.value


async def test_a_request_arrives_as_it_was_made(receiver: Receiver) -> None:
    receiver.answer("dispatched", said({"outcome": "succeeded"}))

    reply = await post(receiver.url + "?key=value")

    assert (reply.status, reply.answer) == (200, b'{"outcome": "succeeded"}')
    [request] = receiver.requests
    assert request.line.endswith("?key=value HTTP/1.1")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (request.headers["webhook-id"], request.body) == ("one", BODY)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LOCALHOST.",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_this_machine_is_called_under_no_name(
    receiver: Receiver, host: str, scheme: str
) -> None:
    found = await unreached(f"{scheme}://{host}:{receiver.port}/", Reach())

    # Some resolvers refuse the odd forms themselves.
    assert "refused" in found.why or "cannot be resolved" in found.why
    assert receiver.connections == 0


async def test_a_name_is_called_where_it_was_allowed(receiver: Receiver) -> None:
    assert (await post(f"http://localhost:{receiver.port}/")).status == 204


async def test_plain_http_goes_to_nobody_on_the_internet() -> None:
    found = await unreached("http://8.8.8.8/")

    assert (found.lasting, "plain HTTP" in found.why) == (True, True)


async def test_the_address_that_was_checked_is_the_one_that_is_called(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [["10.0.0.1", "127.0.0.1"], ["10.0.0.1"], ["169.254.169.254", "::1"]]
    asked: list[str] = []

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in told.pop(0)]

    monkeypatch.setattr(anyio, "getaddrinfo", resolve)
    url = f"http://rebinding.example:{receiver.port}/"

    # Only what is allowed, of several; asked once for each request, and nothing is remembered.
    assert (await post(url)).status == 204
    assert "10.0.0.1" in (await unreached(url)).why
    assert "169.254.169.254" in (await unreached(url)).why
    assert asked == ["rebinding.example"] * 3
    assert receiver.connections == 1


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with receiving() as inside:
        receiver.answer("dispatched", status(307, f"Location: {inside.url}"))

        assert (await post(receiver.url)).status == 307

    assert inside.connections == 0


async def test_the_environment_names_no_proxy(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        assert (await post(receiver.url)).status == 204

    assert proxy.connections == 0


@pytest.mark.parametrize("answer", [never, dripping_json])
async def test_a_receiver_without_end_has_so_long_and_no_longer(
    receiver: Receiver, answer: Answer
) -> None:
    receiver.answer("dispatched", answer)
    begun = time.monotonic()

    found = await unreached(receiver.url, within_s=0.3)

    assert (found.why, found.lasting) == ("no answer within 0.3 s", False)
    assert time.monotonic() - begun < 5


async def test_an_answer_without_end_is_cut_or_not_read_at_all(receiver: Receiver) -> None:
    receiver.answer("dispatched", endless_json, endless_text, endless_head)

    assert (await post(receiver.url)).is_cut
    reply = await post(receiver.url)
    assert (reply.status, reply.answer, reply.is_cut) == (200, None, False)
    assert (await unreached(receiver.url)).why == "what it answers is not HTTP"


async def test_an_answer_of_the_largest_size_is_read(receiver: Receiver) -> None:
    largest = b'"' + b"x" * (MOST_BYTES - 2) + b'"'
    receiver.answer("dispatched", said(largest), said(largest + b" "))

    assert (await post(receiver.url)).answer == largest
    assert (await post(receiver.url)).is_cut


async def test_what_is_no_http_is_no_answer(receiver: Receiver) -> None:
    async def cut(request: Received) -> bytes:
        request.writer.close()
        return b""

    cut_short = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    receiver.answer("dispatched", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", cut, cut_short)

    assert (await unreached(receiver.url)).why == "what it answers is not HTTP"
    assert (await unreached(receiver.url)).why == "the connection was lost"
    # Half an answer settles nothing.
    await unreached(receiver.url)


async def test_nobody_listens(receiver: Receiver) -> None:
    await receiver.close()

    found = await unreached(receiver.url)

    assert (found.why, found.lasting) == ("no connection: Connection refused", False)


async def test_a_name_that_nobody_knows_may_be_known_later() -> None:
    found = await unreached("https://no-such-host.invalid/")

    assert ("cannot be resolved" in found.why, found.lasting) == (True, False)


@needs_openssl
async def test_tls_proves_the_host(tmp_path: Path) -> None:
    ours, theirs = Authority.found(tmp_path / "a"), Authority.found(tmp_path / "b")
    async with receiving(ours.certify("localhost")) as right:
        assert (await post(right.url, ca_file=ours.file)).status == 204
        found = await unreached(right.url, ca_file=theirs.file)
        assert (found.lasting, "certificate" in found.why) == (True, True)
        assert (await unreached(right.url)).lasting
        assert len(right.requests) == 1

    async with receiving(ours.certify("other.example")) as wrong:
        found = await unreached(wrong.url, ca_file=ours.file)
        assert (found.lasting, "Hostname mismatch" in found.why) == (True, True)
        assert wrong.requests == []

    async with receiving(ours.certify("localhost", expired=True)) as expired:
        found = await unreached(expired.url, ca_file=ours.file)
        assert (found.lasting, "expired" in found.why) == (True, True)
        assert expired.requests == []


async def test_a_server_without_tls_is_no_answer_to_https(receiver: Receiver) -> None:
    # It waits for the end of what is no request to it, as long as it is given.
    found = await unreached(f"https://localhost:{receiver.port}/", within_s=0.5)

    assert found.why == "no answer within 0.5 s"
    assert receiver.requests == []
