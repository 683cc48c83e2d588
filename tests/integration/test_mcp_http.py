"""Who gets in over HTTP: the token, the Host and the Origin, and where it listens."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from tests.support.commands import ended
from tests.support.mcp import TOKEN, http_server, over_http
from tests.support.processes import RunningProcess
from tests.support.sockets import listening_sockets

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Nobody listens on port 1: who gets in does not depend on a database.
NOWHERE = "postgresql://someone:geheim@127.0.0.1:1/nothing"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}
USUAL = {
    "Accept": "application/json, text/event-stream",
    "Authorization": f"Bearer {TOKEN}",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[tuple[RunningProcess, str]]:
    async with http_server(NOWHERE, "ada", "--allow-host", "agents.example.org") as server:
        yield server


async def knock(url: str, headers: Mapping[str, str | None]) -> int:
    """Say hello with further headers (None: without one); return the status."""
    given = {name: value for name, value in {**USUAL, **headers}.items() if value is not None}
    async with httpx2.AsyncClient(timeout=30) as http:
        return (await http.post(url, json=HELLO, headers=given)).status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong-token-of-some-length"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Host": "evil.example.org"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "agents.example.org"}, 200),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://agents.example.org"}, 200),
        ({"Host": "evil.example.org", "Authorization": None}, 401),
    ],
)
async def test_only_the_token_from_a_known_place_gets_in(
    server: tuple[RunningProcess, str], headers: dict[str, str | None], status: int
) -> None:
    assert await knock(server[1], headers) == status


@pytest.mark.parametrize("path", ["/", "/mcp/../", "/metrics"])
async def test_there_is_nothing_else(server: tuple[RunningProcess, str], path: str) -> None:
    url = server[1].removesuffix("/mcp") + path
    async with httpx2.AsyncClient(timeout=30) as http:
        assert (await http.get(url)).status_code == 401
        assert (await http.get(url, headers=USUAL)).status_code == 404


async def test_it_listens_on_this_machine_alone(server: tuple[RunningProcess, str]) -> None:
    found = listening_sockets(server[0].pid)

    assert {each.where for each in found if each.kind != "unix"} == {"127.0.0.1"}
    assert all(each.is_private for each in found)


async def test_neither_token_nor_dsn_is_written_anywhere(
    server: tuple[RunningProcess, str],
) -> None:
    async with over_http(server[1]) as model:
        await model.refused("list_agents")

    written = server[0].stdout + server[0].stderr
    assert TOKEN not in written
    assert "geheim" not in written


@pytest.mark.parametrize(
    ("arguments", "env", "code", "told"),
    [
        (["--http", "127.0.0.1:0"], {}, 78, "token"),
        (["--http", "127.0.0.1:0"], {"COORDINATOR_MCP_TOKEN": "short"}, 78, "openssl rand"),
        (["--http", "0.0.0.0:0"], {"COORDINATOR_MCP_TOKEN": TOKEN}, 78, "--expose"),
        (["--http", "here"], {"COORDINATOR_MCP_TOKEN": TOKEN}, 78, "127.0.0.1:8790"),
        (["--expose"], {}, 64, "--http"),
    ],
)
async def test_it_does_not_start_where_others_could_get_in(
    arguments: list[str], env: dict[str, str], code: int, told: str
) -> None:
    refused = await ended("mcp", "--agent", "ada", *arguments, env={"DATABASE_URL": NOWHERE, **env})

    assert refused.code == code
    assert told in refused.err


async def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    env = {"COORDINATOR_MCP_TOKEN": ""}
    async with http_server(NOWHERE, "ada", "--token-file", str(file), env=env) as (_, url):
        assert await knock(url, {}) == 200
