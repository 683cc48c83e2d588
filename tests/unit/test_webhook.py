"""What webhook delivery decides by itself: whom it calls, what it signs, what answers mean."""

import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from coordinator.agents.webhook.addresses import Reach
from coordinator.agents.webhook.delivery import pause_after
from coordinator.agents.webhook.notices import Notice, cancel_requested, ping, taken_back
from coordinator.agents.webhook.replies import (
    Declined,
    Failed,
    Later,
    Meaning,
    Misconfigured,
    Settled,
    Succeeded,
    Taken,
    Unfit,
    meaning,
)
from coordinator.agents.webhook.signing import Signer
from coordinator.agents.webhook.target import Target
from coordinator.agents.webhook.wire import MOST_BYTES, Reply
from coordinator.core.errors import ConfigError
from coordinator.core.model import Life, Token

# 2026-11-30T12:00:00Z
NOW = 1796040000
LIFE = Life("ada", UUID(int=7))
TOKEN = Token(UUID(int=9), 3)
SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAGE = Path(__file__).parents[2] / "docs" / "agents.md"


# Addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0.0.0.0", "unspecified"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "shared"),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "special"),
        ("192.168.1.1", "private"),
        ("198.19.0.1", "benchmarking"),
        ("203.0.113.9", "documentation"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::127.0.0.1", "no global address"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("::ffff:0:10.0.0.1", "no global address"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b:1::1", "no global address"),
        ("2001:0:4136:e378::1", "special"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("2002:808:808::1", "6to4"),
        ("fc00::1", "private"),
        ("fd12:3456::1", "private"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "no global address"),
        ("ff02::1", "multicast"),
    ],
)
def test_an_address_that_only_means_something_in_here_is_refused(text: str, kind: str) -> None:
    objection = Reach().objection(ip_address(text), encrypted=True)

    assert objection is not None
    assert kind in objection


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "192.0.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:1.1.1.1"],
)
def test_an_address_of_the_internet_is_reached_over_tls_alone(text: str) -> None:
    assert Reach().objection(ip_address(text), encrypted=True) is None
    assert "plain HTTP" in str(Reach().objection(ip_address(text), encrypted=False))


@pytest.mark.parametrize(
    ("text", "allowed", "fits"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("64:ff9b::10.1.2.3", "10.0.0.0/8", True),
        ("127.0.0.1", "127.0.0.1/32", True),
        ("127.0.0.2", "127.0.0.1/32", False),
        ("::1", "127.0.0.0/8", False),
        ("fd00::1", "fd00::/8", True),
        ("169.254.169.254", "10.0.0.0/8", False),
        ("2002:a01:203::", "10.0.0.0/8", False),
    ],
)
def test_what_the_operator_allows_is_reached(text: str, allowed: str, *, fits: bool) -> None:
    reach = Reach([ip_network(allowed)])

    assert (reach.objection(ip_address(text), encrypted=False) is None) is fits


# The URL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "origin"),
    [
        ("https://a.example", "a.example", 443, "/", "https://a.example"),
        ("https://A.example:8443/x?k=1", "a.example", 8443, "/x?k=1", "https://a.example:8443"),
        ("http://[::1]:80/x", "::1", 80, "/x", "http://[::1]"),
    ],
)
def test_a_url_has_a_host_a_port_and_a_path(
    url: str, host: str, port: int, path: str, origin: str
) -> None:
    target = Target.parse(url)

    assert (target.host, target.port, target.path, target.origin) == (host, port, path, origin)
    assert path == "/" or path not in repr(target)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://a.example/", "https://"),
        ("a.example/x", "https://"),
        ("https:///x", "no host"),
        ("https://me@a.example/", "a user"),
        ("https://me:geheim@a.example/", "a user"),
        ("https://a.example/#x", "fragment"),
        ("https://a.example:99999/", "port"),
        ("https://[::1/", "host"),
        ("https://a.example/a b", "character"),
        ("https://a.example\\@b.example/", "character"),
        ("https://a.exam\nple/", "character"),
        ("https://bücher.example/", "character"),
        ("https://a.example/" + "x" * 9000, "longer"),
    ],
)
def test_a_url_that_can_be_read_in_two_ways_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Target.parse(url)

    assert why in str(refused.value)
    assert "geheim" not in str(refused.value)


# Signatures -------------------------------------------------------------------------------------


def test_it_signs_as_standard_webhooks_does() -> None:
    headers = Signer.of([SECRET]).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', now=1614265330
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_are_exchanged_both_sign_and_the_text_of_a_plain_one_is_the_key() -> None:
    plain = b"twenty-four bytes or more"
    headers = Signer.of([plain + b"\n", SECRET]).headers("id", b"{}", now=1)

    first, second = headers["webhook-signature"].split(" ")
    assert first == "v1," + b64encode(digest(plain, b"id.1.{}", sha256)).decode()
    assert second == Signer.of([SECRET]).headers("id", b"{}", now=1)["webhook-signature"]


@pytest.mark.parametrize(
    "secrets",
    [[], [b"short"], [b"whsec_" + b"A" * 24], [b"whsec_!" + b"A" * 40], [SECRET] * 3],
)
def test_secrets_that_are_of_no_use_are_refused_and_not_shown(secrets: list[bytes]) -> None:
    with pytest.raises(ConfigError) as refused:
        Signer.of(secrets)

    assert "openssl rand" in str(refused.value)
    assert "AAAA" not in str(refused.value)
    assert SECRET.decode() not in repr(Signer.of([SECRET]))


@pytest.fixture(scope="module")
def receivers() -> ModuleType:
    """What the page tells receivers to write."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    [block] = [each for each in blocks if "def verified(" in each]
    module = ModuleType("page")
    exec(block, module.__dict__)
    return module


def signed(now: int, *secrets: bytes, body: bytes = b'{"a": 1}') -> Mapping[str, str]:
    return Signer.of(secrets).headers("id_1", body, now=now)


def test_the_verifier_on_the_page_takes_what_was_signed(receivers: ModuleType) -> None:
    now = int(datetime.now(UTC).timestamp())
    other = b"whsec_" + b64encode(b"x" * 32)

    assert receivers.verified(signed(now, SECRET), b'{"a": 1}', SECRET.decode())
    assert receivers.verified(signed(now, other, SECRET), b'{"a": 1}', SECRET.decode())


def test_the_verifier_on_the_page_takes_nothing_else(receivers: ModuleType) -> None:
    now = int(datetime.now(UTC).timestamp())
    other = b"whsec_" + b64encode(b"x" * 32)
    right = signed(now, SECRET)

    def takes(headers: Mapping[str, str], body: bytes = b'{"a": 1}') -> bool:
        return bool(receivers.verified(headers, body, SECRET.decode()))

    assert takes(right)
    assert not takes(right, b'{"a": 2}')
    assert not takes({**right, "webhook-id": "id_2"})
    assert not takes({**right, "webhook-timestamp": str(now - 1)})
    assert not takes(signed(now, other))
    assert not takes(signed(now - 400, SECRET))
    assert not takes(signed(now + 400, SECRET))
    assert not takes({**right, "webhook-signature": "v1,"})


# Notices ----------------------------------------------------------------------------------------


def test_the_same_event_has_the_same_id_whoever_sends_it() -> None:
    one = taken_back(LIFE, TOKEN, now=NOW)
    other = taken_back(Life("ada", UUID(int=8)), TOKEN, now=NOW + 5)
    next_ = taken_back(LIFE, Token(TOKEN.handoff_id, 4), now=NOW)

    assert one.id == other.id == f"taken_back_{TOKEN.handoff_id.hex}_3"
    assert len({one.id, next_.id, cancel_requested(LIFE, TOKEN, now=NOW).id}) == 3
    assert ping(LIFE, now=NOW).id != ping(LIFE, now=NOW).id


def test_a_notice_holds_ids_and_nothing_else() -> None:
    notice: Notice = taken_back(LIFE, TOKEN, now=NOW)

    assert notice.body.decode() == (
        '{"type":"handoff.taken_back","timestamp":"2026-11-30T12:00:00Z","data":{"agent":"ada",'
        '"incarnation":"00000000-0000-0000-0000-000000000007",'
        '"handoff_id":"00000000-0000-0000-0000-000000000009","attempt":3}}'
    )
    assert ping(LIFE, now=NOW).body.decode() == (
        '{"type":"webhook.ping","timestamp":"2026-11-30T12:00:00Z","data":{"agent":"ada",'
        '"incarnation":"00000000-0000-0000-0000-000000000007"}}'
    )


# Without the extra -------------------------------------------------------------------------------


def test_where_the_http_client_is_missing_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['httpcore2'] = None\n"
        "from coordinator.cli import main\n"
        "sys.argv[1:] = ['agent', 'webhook', '--name', 'ada']\n"
        "main()\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 78, ended.stderr
    assert "pip install 'agent-coordinator[webhook]'" in ended.stderr


# Answers ----------------------------------------------------------------------------------------


def read(code: int, answer: bytes | None = None, **headers: str) -> Meaning:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return meaning(Reply(code, named, answer), now=NOW)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_2xx_takes_a_handoff(code: int) -> None:
    assert read(code) == Taken()


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(code: int) -> None:
    assert read(code) == Later(f"HTTP {code}")


@pytest.mark.parametrize("code", [101, 301, 302, 307, 308, 400, 401, 403, 404, 405, 413, 422])
def test_what_somebody_must_mend_is_not(code: int) -> None:
    assert isinstance(read(code), Misconfigured)


def test_a_receiver_declines_one_handoff_or_is_gone() -> None:
    assert read(409) == Declined("HTTP 409")
    assert read(410) == Declined("HTTP 410", is_gone=True)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Mon, 30 Nov 2026 12:01:00 GMT", 60),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0661", None),
        ("9" * 400, 999_999_999),
    ],
)
def test_a_retry_after_is_seconds_or_a_moment(text: str, after: float | None) -> None:
    assert read(503, retry_after=text) == Later("HTTP 503", after)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b'{"outcome": "succeeded"}', Succeeded(outcome="succeeded")),
        (b'{"outcome": "succeeded", "result": [1]}', Succeeded(outcome="succeeded", result=[1])),
        (b'{"outcome": "failed", "error": "no"}', Failed(outcome="failed", error="no")),
        (
            b'{"outcome": "failed", "error": "no", "retry": false, "result": 1}',
            Failed(outcome="failed", error="no", retry=False, result=1),
        ),
    ],
)
def test_an_answer_with_an_outcome_settles(answer: bytes, word: Succeeded | Failed) -> None:
    assert read(200, answer) == Settled(word)
    assert read(202) == Taken()


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b"null", b'"outcome"', b'{"ok": true}'])
def test_an_answer_without_an_outcome_settles_nothing(answer: bytes) -> None:
    assert read(200, answer) == Taken()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b'{"outcome": "done"}', "does not fit: outcome"),
        (b'{"outcome": null}', "does not fit: outcome"),
        (b'{"outcome": "succeeded", "error": "geheim"}', "does not fit: error"),
        (b'{"outcome": "failed"}', "does not fit: error"),
        (b'{"outcome": "failed", "error": ""}', "does not fit: error"),
        (b'{"outcome": "failed", "error": 5}', "does not fit: error"),
        (b'{"outcome": "failed", "error": "geheim", "retry": "yes"}', "does not fit: retry"),
        (b'{"outcome": "succeeded", "result": NaN}', "no JSON"),
        (b'{"outcome": "succeeded", "result": 1e999}', "no JSON"),
        (b'{"outcome": "succeeded", "result": "\\u0000"}', "no JSON"),
        (b'{"outcome": "succeeded", "result": "\\ud800"}', "no JSON"),
        (b'{"outcome": "succeeded", "result": ' + b"[" * 100_000, "no JSON"),
        (b'{"outcome": "succeeded", "result": ' + b"9" * 5000 + b"}", "no JSON"),
        (b"\xff", "no JSON"),
        (b"OK", "no JSON"),
    ],
)
def test_an_answer_that_meant_to_settle_and_does_not_fit_says_so(answer: bytes, why: str) -> None:
    found = read(200, answer)

    assert isinstance(found, Unfit)
    assert why in found.why
    assert "geheim" not in found.why


def test_an_answer_that_is_too_large_is_not_taken() -> None:
    found: Any = meaning(Reply(200, {}, is_cut=True), now=NOW)

    assert found == Unfit(f"its answer is larger than {MOST_BYTES} bytes")


@pytest.mark.parametrize(
    ("tries", "least", "most"), [(1, 0.5, 1), (3, 2, 4), (5, 5, 10), (10_000, 5, 10)]
)
def test_pauses_double_up_to_a_limit_with_jitter(tries: int, least: float, most: float) -> None:
    limits = {"first": timedelta(seconds=1), "longest": timedelta(seconds=10)}
    pauses = {pause_after(tries, **limits).total_seconds() for _ in range(200)}

    assert least <= min(pauses)
    assert max(pauses) <= most
    assert len(pauses) > 100
