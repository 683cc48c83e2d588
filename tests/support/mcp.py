"""The real `coordinator mcp` as a process, and the official SDK's client in front of it."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from coordinator.waking.door import FOLDER_VARIABLE
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, RunningProcess, coordinator

TOKEN = "a-token-of-more-than-sixteen"
LEGACY, MODERN = "legacy", "auto"
"""How a client begins: with a handshake, as before 2026; or by asking, and then without."""
ERAS = (LEGACY, MODERN)
_WITH_ITS_NUMBER = 'echo $$ > "$0"; exec "$@"'


@dataclass(frozen=True, slots=True)
class Model:
    """A model's side of the connection: it calls tools and reads what they say."""

    client: Client
    pid_file: Path

    @property
    def pid(self) -> int:
        """The server's process."""
        return int(self.pid_file.read_text())

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed; return its structured content."""
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.structured_content
        return content_of(answer)

    async def refused(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must not succeed; return what it says of that."""
        answer = await self.client.call_tool(tool, arguments)
        assert answer.is_error, answer.structured_content
        assert answer.structured_content is None  # it would not fit the tool's schema
        error: dict[str, Any] = text_of(answer)["error"]
        assert error["what"]
        assert error["next"]
        return error

    async def wait(self) -> dict[str, Any]:
        """Wait for a handoff until there is one; return it."""
        answer = await self.call("wait_for_handoff")
        assert answer["handoff"], answer
        handoff: dict[str, Any] = answer["handoff"]
        return handoff

    async def take(self) -> dict[str, Any]:
        """Wait for a handoff and accept it; return the token."""
        shown = await self.wait()
        token = {"handoff_id": shown["handoff_id"], "attempt": shown["attempt"]}
        await self.call("accept_handoff", **token)
        return token


def content_of(answer: types.CallToolResult) -> dict[str, Any]:
    """The structured content, which is the same as the text."""
    content: dict[str, Any] = answer.structured_content
    assert text_of(answer) == content
    return content


def text_of(answer: types.CallToolResult) -> dict[str, Any]:
    """The JSON in the text."""
    [block] = answer.content
    assert isinstance(block, types.TextContent)
    content: dict[str, Any] = json.loads(block.text)
    return content


@asynccontextmanager
async def on_stdio(
    database: Database, agent: str, *arguments: str, mode: str = MODERN, **options: Any
) -> AsyncIterator[Model]:
    """Start a server for this agent, as a client does, and close it at the end."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        pid_file = Path(name, "pid")
        command = [str(pid_file), str(SCRIPT), "mcp", "--agent", agent, *arguments]
        parameters = StdioServerParameters(
            command="/bin/sh",
            args=["-c", _WITH_ITS_NUMBER, *command],
            env={
                "DATABASE_URL": database.dsn,
                FOLDER_VARIABLE: name,
                **_measured(),
                **options.pop("env", {}),
            },
        )
        transport = stdio_client(parameters, errlog=sys.stderr)
        async with Client(transport, mode=mode, **options) as client:
            _check_era(client, mode)
            yield Model(client, pid_file)


@asynccontextmanager
async def http_server(
    database: Database | str, agent: str, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[RunningProcess, str]]:
    """Start a server on a free port of the loopback interface; yield it and its URL."""
    dsn = database if isinstance(database, str) else database.dsn
    command = ("mcp", "--agent", agent, "--http", "127.0.0.1:0", "--json", *arguments)
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as folder:
        given = {"DATABASE_URL": dsn, "COORDINATOR_MCP_TOKEN": TOKEN, FOLDER_VARIABLE: folder}
        async with coordinator(*command, env={**given, **(env or {})}) as server:
            line = await server.seen("mcp.listening")
            yield server, line["url"]
            server.kill(signal.SIGTERM)
            await server.wait()


@asynccontextmanager
async def over_http(url: str, *, mode: str = MODERN, **options: Any) -> AsyncIterator[Model]:
    """Connect to a server over HTTP."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport: AbstractAsyncContextManager[Any] = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            _check_era(client, mode)
            yield Model(client, Path("/nowhere"))


def _measured() -> dict[str, str]:
    """What a process needs to measure its coverage; the SDK's client hands on little else."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def _check_era(client: Client, mode: str) -> None:
    assert (client.protocol_version >= "2026-07-28") is (mode == MODERN)
