"""The protocol's inspector: one process a call, or (`mcpdo`) one connection for many of them."""

import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.support.clients import client_ended, installed
from tests.support.commands import Ended
from tests.support.mcp import TOKEN
from tests.support.postgres import Database

ERAS = ("legacy", "modern")
"""How the inspector calls the protocols of 2024 and 2025, and that of 2026-07-28."""
_TOOL_SAID_ERROR = 5


class Inspector(Protocol):
    """Asks a server for one thing at a time."""

    async def ask(self, method: str, **options: str) -> dict[str, Any]:
        """Call a method of the protocol, such as `tools/list`, which must succeed."""

    async def call(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool that must succeed; return its structured content."""


@dataclass(frozen=True, slots=True)
class OneShot:
    """`mcp-inspector --cli`, which connects anew for each call."""

    target: tuple[str, ...]
    """A URL, or the command of a server on stdio."""
    era: str
    home: Path

    @classmethod
    def at(cls, url: str, *, era: str, home: Path) -> "OneShot":
        """Ask a server over HTTP."""
        header = ("--header", f"Authorization: Bearer {TOKEN}")
        return cls((url, "--transport", "http", *header), era, home)

    @classmethod
    def starting(cls, database: Database, agent: str, *, era: str, home: Path) -> "OneShot":
        """Start a server for each call."""
        # The inspector hands none of its own environment on.
        dsn = f"DATABASE_URL={database.dsn}"
        return cls(("-e", dsn, "coordinator", "mcp", "--agent", agent), era, home)

    async def ask(self, method: str, **options: str) -> dict[str, Any]:
        """Call a method of the protocol that must succeed."""
        return _result(await self._run(method, options))

    async def call(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool that must succeed; return its structured content."""
        return content_of(_result(await self._run("tools/call", _asked(tool, arguments))))

    async def refused(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool that must not succeed; return what it says of that."""
        asked = await self._run("tools/call", _asked(tool, arguments))
        assert asked.code == _TOOL_SAID_ERROR, asked
        answer = json.loads(asked.out)["result"]
        assert answer["isError"], answer
        error: dict[str, Any] = json.loads(answer["content"][0]["text"])["error"]
        return error

    async def _run(self, method: str, options: Mapping[str, str]) -> Ended:
        given = ("--cli", "--format", "json", "--protocol-era", self.era, "--method", method)
        command = (installed("mcp-inspector"), *given, *_flags(options), *self.target)
        return await client_ended(*command, home=self.home)


@dataclass(frozen=True, slots=True)
class Connected:
    """`mcpdo`, whose own daemon keeps one connection for many calls."""

    home: Path
    env: Mapping[str, str]

    async def ask(self, method: str, **options: str) -> dict[str, Any]:
        """Call a method of the protocol that must succeed."""
        command = ("--connection", "coordinator", method, *_flags(options))
        answer: dict[str, Any] = (await self.run(*command)).data
        return answer

    async def call(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool that must succeed; return its structured content."""
        return content_of(await self.ask("tools/call", **_asked(tool, arguments)))

    async def run(self, *arguments: str) -> Ended:
        """Run a command that must succeed."""
        command = (installed("mcpdo"), "--format", "json", *arguments)
        asked = await client_ended(*command, home=self.home, env=self.env)
        assert asked.code == 0, asked
        return asked


@asynccontextmanager
async def connected(database: Database, agent: str, *, era: str) -> AsyncIterator[Connected]:
    """Start a server on stdio, and keep the connection until the end of the block."""
    # Its socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="mcpdo-") as name:
        env = {"MCP_INSPECTOR_DAEMON_DIR": name, "MCP_INSPECTOR_SECRET_STORE": "file"}
        inspector = Connected(Path(name), env)
        server = ("coordinator", "mcp", "--agent", agent)
        dsn = ("-e", f"DATABASE_URL={database.dsn}", "--transport", "stdio")
        try:
            made = await inspector.run("connect", "--era", era, *dsn, "--", *server)
            assert made.data["protocolEra"] == era
            yield inspector
        finally:
            await inspector.run("daemon", "stop")


def content_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The structured content of an answer."""
    assert not answer["isError"], answer
    content: dict[str, Any] = answer["structuredContent"]
    return content


def _result(asked: Ended) -> dict[str, Any]:
    assert asked.code == 0, asked
    result: dict[str, Any] = json.loads(asked.out)["result"]
    return result


def _asked(tool: str, arguments: Mapping[str, object]) -> dict[str, str]:
    return {"tool_name": tool, "tool_args_json": json.dumps(arguments)}


def _flags(options: Mapping[str, str]) -> list[str]:
    """As options; an empty value makes a bare flag."""
    # With an equals sign: some of them would take whatever follows for further values.
    return [
        f"--{name.replace('_', '-')}" + (f"={value}" if value else "")
        for name, value in options.items()
    ]
