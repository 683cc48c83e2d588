"""Messages to the MCP server byte by byte, for what no client of the SDK would send."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2

from tests.support.mcp import TOKEN
from tests.support.postgres import Database
from tests.support.processes import SCRIPT

_ANSWER_WITHIN_S = 60
_NEWEST = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": _NEWEST,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
}


@dataclass(frozen=True, slots=True)
class RawHttp:
    """The protocol of 2026-07-28, one request a call."""

    http: httpx2.AsyncClient
    url: str

    async def call(self, tool: str, arguments: object) -> dict[str, Any]:
        """Call a tool; return the whole answer."""
        params = {"name": tool, "arguments": arguments, "_meta": _META}
        answer = await self.http.post(
            self.url,
            content=json.dumps(_call(1, params)),
            headers={"Mcp-Method": "tools/call", "Mcp-Name": tool},
        )
        told: dict[str, Any] = answer.json()
        return told


@asynccontextmanager
async def raw_http(url: str) -> AsyncIterator[RawHttp]:
    """Talk to a server over HTTP."""
    headers = {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": _NEWEST,
    }
    async with httpx2.AsyncClient(headers=headers, timeout=_ANSWER_WITHIN_S) as http:
        yield RawHttp(http, url)


@dataclass(slots=True)
class RawStdio:
    """The protocol of 2025, on the pipes of a server of its own."""

    process: anyio.abc.Process
    _rest: bytes = b""
    _calls: int = 0

    async def send(self, data: bytes) -> None:
        """Write to its stdin."""
        assert self.process.stdin
        await self.process.stdin.send(data)

    async def hear(self) -> dict[str, Any]:
        """Read its next message."""
        assert self.process.stdout
        with anyio.fail_after(_ANSWER_WITHIN_S):
            while b"\n" not in self._rest:
                self._rest += await self.process.stdout.receive()
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    async def call(self, tool: str, arguments: object) -> dict[str, Any]:
        """Call a tool; return the whole answer."""
        self._calls += 1
        params = {"name": tool, "arguments": arguments}
        await self.send(json.dumps(_call(self._calls, params)).encode() + b"\n")
        answer = await self.hear()
        assert answer["id"] == self._calls, answer
        return answer

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def raw_stdio(database: Database | str, agent: str) -> AsyncIterator[RawStdio]:
    """Start a server for this agent and say hello; it is killed at the end of the block."""
    dsn = database if isinstance(database, str) else database.dsn
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    path = str(Path(sys.executable).parent)
    with tempfile.TemporaryFile() as stderr:
        async with await anyio.open_process(
            [SCRIPT, "mcp", "--agent", agent],
            stdin=subprocess.PIPE,
            stderr=stderr,
            env={"PATH": path, "DATABASE_URL": dsn, **measured},
        ) as process:
            try:
                server = RawStdio(process)
                me = {"name": "raw", "version": "1"}
                hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me}
                await server.send(_line(id=0, method="initialize", params=hello))
                assert (await server.hear())["id"] == 0
                await server.send(_line(method="notifications/initialized"))
                yield server
            finally:
                if process.returncode is None:
                    process.kill()


def error_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer says of the call that it refuses: the tool's own words, or the protocol's."""
    if "error" in answer:
        told = answer["error"]["data"]["error"]
    else:
        assert answer["result"]["isError"], answer
        told = json.loads(answer["result"]["content"][0]["text"])["error"]
    assert told["what"]
    assert told["next"]
    error: dict[str, Any] = told
    return error


def content_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The structured content of a call that was not refused."""
    assert not answer["result"]["isError"], answer
    content: dict[str, Any] = answer["result"]["structuredContent"]
    return content


def _call(number: int, params: Mapping[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def _line(**message: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
