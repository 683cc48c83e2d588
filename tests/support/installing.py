"""`coordinator agent install` in a home and a project of its own, and what it has written there."""

import os
import pty
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from click.testing import CliRunner

from coordinator.agents.clients import json_text, toml_text
from coordinator.agents.clients.described import CLIENTS, Machine, Scope, Spot
from coordinator.cli.install import install
from tests.support.commands import Ended, ended
from tests.support.processes import SCRIPT

NOWHERE = {"CLAUDE_CONFIG_DIR": "", "CODEX_HOME": "", "GEMINI_CLI_HOME": "", "XDG_STATE_HOME": ""}
"""What could lead the command to the developer's own files."""


@dataclass(frozen=True, slots=True)
class Place:
    """A home and a project in it."""

    home: Path
    project: Path

    @staticmethod
    def in_(folder: Path) -> "Place":
        """Make both, empty."""
        place = Place(folder / "home", folder / "a project's folder")
        place.home.mkdir()
        place.project.mkdir()
        return place

    @property
    def environ(self) -> dict[str, str]:
        """What the command gets."""
        return {"HOME": str(self.home), **NOWHERE}

    async def install(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run the command to its end, without a terminal."""
        return await ended(
            "agent", "install", *arguments, env={**self.environ, **(env or {})}, cwd=self.project
        )

    def at_once(self, *arguments: str) -> str:
        """The same within this process, which is faster; it must succeed, and its words return."""
        options = ["--cwd", str(self.project), "--yes"]
        done = CliRunner().invoke(
            install, [*arguments, *options], env=self.environ, standalone_mode=False
        )
        assert done.exception is None, done.output
        return done.output

    async def installed(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        """The same with `--yes`; it must succeed."""
        command = await self.install(*arguments, "--yes", env=env)
        assert command.code == 0, command
        return command

    def file(self, client: str, scope: str, *, hooks: bool = False) -> Path:
        """The client's file with the servers, or the one with the hooks."""
        described = CLIENTS[client]
        spot = described.hooks_in if hooks else described.servers_in
        assert spot is not None
        return self._path(spot, scope)

    def files(self, client: str, scope: str) -> list[Path]:
        """All files of the client."""
        described = CLIENTS[client]
        spots = [described.servers_in, *([described.hooks_in] if described.hooks_in else [])]
        return list(dict.fromkeys(self._path(spot, scope) for spot in spots))

    def server(self, client: str, scope: str, name: str = "coordinator") -> dict[str, Any]:
        """An entry among the client's servers."""
        found = data(self.file(client, scope))[CLIENTS[client].servers_key][name]
        assert isinstance(found, dict)
        return found

    def hook_lines(self, client: str, scope: str) -> dict[str, str]:
        """The commands of the client's hooks by their events; there must be one for each."""
        lines = {}
        for event, items in data(self.file(client, scope, hooks=True))["hooks"].items():
            [item] = items
            [handler] = item["hooks"] if CLIENTS[client].grouped else [item]
            lines[event] = handler["command"]
        return lines

    @property
    def tree(self) -> dict[str, tuple[str, int]]:
        """Every file in both, with its content and its mode; folders with theirs."""
        root = self.home.parent
        return {
            str(path.relative_to(root)): (
                path.read_bytes().decode() if path.is_file() else "",
                stat.S_IMODE(path.lstat().st_mode),
            )
            for path in sorted([*self.home.rglob("*"), *self.project.rglob("*")])
        }

    def _path(self, spot: Spot, scope: str) -> Path:
        return spot.path(Scope(scope), Machine(self.home, self.project, {}, is_mac=False))


def data(file: Path) -> dict[str, Any]:
    """What a file means, comments aside."""
    text = file.read_text(encoding="utf-8")
    return toml_text.read(text) if file.suffix == ".toml" else json_text.read(text)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The command on a terminal."""

    process: subprocess.Popen[bytes]
    main: int

    async def shows(self, text: str) -> str:
        """Read until the text is on the terminal; return all that was read."""
        seen = ""
        with anyio.fail_after(20):
            while text not in seen:
                seen += await anyio.to_thread.run_sync(self._read)
        return seen

    async def answers(self, text: str) -> int:
        """Type a line; return the exit code."""
        os.write(self.main, text.encode() + b"\n")
        return await anyio.to_thread.run_sync(lambda: self.process.wait(timeout=20))

    def _read(self) -> str:
        return os.read(self.main, 4096).decode()


@contextmanager
def on_a_terminal(place: Place, *arguments: str) -> Iterator[Terminal]:
    """Run the command on a terminal of its own; it is killed if it has not ended."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, "agent", "install", *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        cwd=place.project,
        env={**os.environ, **place.environ},
    )
    os.close(side)
    try:
        yield Terminal(process, main)
    finally:
        process.kill()
        process.wait()
        os.close(main)
