"""The clients: where each keeps its configuration, and what `install` puts there.

Of Claude Code, Codex and Gemini CLI the files were read by the clients themselves
(`tests/e2e/test_installed_clients.py`). Of Cursor, Antigravity and Trae all of this was read in
their pages and in what others publish: none of them runs without a desktop or a login.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from coordinator.core.wrapped import WrappedVariable


class Scope(StrEnum):
    """For whom a configuration counts."""

    PROJECT = "project"
    """For whoever opens this folder; such files are usually committed."""
    USER = "user"
    """For this user, in every folder."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the files are looked for."""

    home: Path
    folder: Path
    """The project's."""
    environ: Mapping[str, str]
    is_mac: bool


@dataclass(frozen=True, slots=True)
class Spot:
    """One file of a client, for each scope."""

    project: str
    """From the project's folder."""
    user: str
    """From the home folder."""
    moved: str | None = None
    """Where a variable has moved the user's file to, such as `$CODEX_HOME/config.toml`."""
    mac: str | None = None
    """The user's file on macOS, if it is another one."""
    older: str | None = None
    """Where releases before have the user's file: used if it is there, and the other is not."""

    def path(self, scope: Scope, machine: Machine) -> Path:
        """Return the file's path."""
        if scope is Scope.PROJECT:
            return machine.folder / self.project
        variable, _, rest = (self.moved or "").partition("/")
        if self.moved and (moved := machine.environ.get(variable.removeprefix("$"))):
            return Path(moved).absolute() / rest
        user = machine.home / (self.mac if self.mac and machine.is_mac else self.user)
        older = machine.home / self.older if self.older else user
        return older if older.exists() and not user.exists() else user


@dataclass(frozen=True, slots=True)
class Hook:
    """One event of a client at which it starts `coordinator agent hook`."""

    event: str
    """The client's name of it."""
    word: str
    """Ours: start, rest, busy or end."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of the handler; limits are in the client's own unit."""
    matcher: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """What there is to know of a client."""

    name: str
    title: str
    servers_in: Spot
    servers_key: str = "mcpServers"
    entry: Mapping[str, Any] = field(default_factory=dict)
    """What a server's entry has beside `command` and `args`."""
    handed_on: Mapping[str, Any] = field(default_factory=dict)
    """What it has, in place of that, if the server is to find DATABASE_URL in its environment."""
    hooks_in: Spot | None = None
    hooks: tuple[Hook, ...] = ()
    grouped: bool = True
    """Whether an event has groups of handlers; else it has the handlers themselves."""
    frame: Mapping[str, Any] = field(default_factory=dict)
    """What the file with the hooks must say besides."""
    allows: bool = False
    """Whether that file has a list of tools that need no question, `permissions.allow`."""
    notes: Mapping[Scope, tuple[str, ...]] = field(default_factory=dict)
    """What is left for the user to do."""
    without_dsn_file: str | None = None
    """What to say if DATABASE_URL is to come from the environment."""


_A_DAY_S = 24 * 60 * 60
"""How long a hook may wait in the background for a handoff to wake an idle session."""
_WAKING = {"asyncRewake": True, "timeout": _A_DAY_S}
"""For Claude Code. Not `async`: without a terminal it is to wait for the hook, then a short one."""
_SOON_S = 30
"""A hook that the client waits for has an answer within a few seconds."""
_WHILE_NO_TURN_IS_RUNNING = "startup|resume|clear"
"""Not `compact`: that may happen in the midst of a turn."""

_FROM_A_RUNNER = (WrappedVariable.AGENT.value, WrappedVariable.SOCKET.value)
_FROM_A_SHELL = (
    "it is not known whether {title} hands DATABASE_URL on to its servers, and from a desktop there"
    " is none: better give --dsn-file"
)


def _same(*notes: str) -> Mapping[Scope, tuple[str, ...]]:
    return dict.fromkeys(Scope, notes)


CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client(
            "claude",
            "Claude Code",
            Spot(".mcp.json", ".claude.json", "$CLAUDE_CONFIG_DIR/.claude.json"),
            # Else the first turn may begin without the tools.
            entry={"alwaysLoad": True},
            hooks_in=Spot(
                ".claude/settings.json",
                ".claude/settings.json",
                "$CLAUDE_CONFIG_DIR/settings.json",
            ),
            hooks=(
                Hook(
                    "SessionStart",
                    "start",
                    _WAKING,
                    _WHILE_NO_TURN_IS_RUNNING,
                ),
                Hook("UserPromptSubmit", "busy", {"timeout": _SOON_S}),
                Hook("Stop", "rest", _WAKING),
                Hook("SessionEnd", "end", {"timeout": _SOON_S}),
            ),
            allows=True,
            notes={
                Scope.PROJECT: ("claude asks once whether to trust the server of .mcp.json",),
            },
        ),
        Client(
            "codex",
            "Codex CLI",
            Spot(".codex/config.toml", ".codex/config.toml", "$CODEX_HOME/config.toml"),
            servers_key="mcp_servers",
            # Required: else it gives the server about a second, and begins the turn without it.
            # It strips the environment of everything that is not named, such as what tells the
            # server inside `agent run` where its runner is.
            entry={"required": True, "tool_timeout_sec": 300, "env_vars": list(_FROM_A_RUNNER)},
            handed_on={"env_vars": ["DATABASE_URL", *_FROM_A_RUNNER]},
            hooks_in=Spot(".codex/hooks.json", ".codex/hooks.json", "$CODEX_HOME/hooks.json"),
            hooks=(
                Hook("SessionStart", "start", {"timeout": _SOON_S}, _WHILE_NO_TURN_IS_RUNNING),
                Hook("UserPromptSubmit", "busy", {"timeout": _SOON_S}),
                Hook("Stop", "rest", {"timeout": _SOON_S}),
                Hook("SessionEnd", "end", {"timeout": 3}),
            ),
            notes={
                Scope.PROJECT: (
                    "codex reads .codex only in a project that it trusts",
                    "codex runs no hook that you have not trusted: say /hooks in a session",
                ),
                Scope.USER: (
                    "codex runs no hook that you have not trusted: say /hooks in a session",
                ),
            },
        ),
        Client(
            "gemini",
            "Gemini CLI",
            Spot(
                ".gemini/settings.json",
                ".gemini/settings.json",
                "$GEMINI_CLI_HOME/.gemini/settings.json",
            ),
            # Trusted, as Claude Code's permissions.allow: nobody is there to be asked.
            entry={"timeout": 600_000, "trust": True},
            handed_on={"env": {"DATABASE_URL": "$DATABASE_URL"}},
            hooks_in=Spot(
                ".gemini/settings.json",
                ".gemini/settings.json",
                "$GEMINI_CLI_HOME/.gemini/settings.json",
            ),
            hooks=(
                Hook("BeforeAgent", "busy", {"name": "coordinator-busy", "timeout": 30_000}),
                Hook("AfterAgent", "rest", {"name": "coordinator-rest", "timeout": 30_000}),
                Hook("SessionEnd", "end", {"name": "coordinator-end", "timeout": 30_000}),
            ),
            notes=_same("gemini starts servers only in folders that it trusts"),
        ),
        Client(
            "cursor",
            "Cursor",
            Spot(".cursor/mcp.json", ".cursor/mcp.json"),
            handed_on={"env": {"DATABASE_URL": "${env:DATABASE_URL}"}},
            hooks_in=Spot(".cursor/hooks.json", ".cursor/hooks.json"),
            hooks=(
                Hook("beforeSubmitPrompt", "busy", {"timeout": _SOON_S}),
                # How many handoffs may follow one another; five would be the default.
                Hook("stop", "rest", {"timeout": _SOON_S, "loop_limit": 100}),
                Hook("sessionEnd", "end", {"timeout": _SOON_S}),
            ),
            grouped=False,
            frame={"version": 1},
            notes=_same("switch the server on in Cursor's settings, under MCP"),
            without_dsn_file="Cursor finds DATABASE_URL only if it was started with it",
        ),
        Client(
            "antigravity",
            "Antigravity",
            Spot(
                ".agents/mcp_config.json",
                ".gemini/config/mcp_config.json",
                older=".gemini/antigravity/mcp_config.json",
            ),
            notes=_same("refresh the MCP servers in Antigravity"),
            without_dsn_file=_FROM_A_SHELL.format(title="Antigravity"),
        ),
        Client(
            "trae",
            "Trae",
            Spot(
                ".trae/mcp.json",
                ".config/Trae/User/mcp.json",
                mac="Library/Application Support/Trae/User/mcp.json",
            ),
            notes={
                Scope.PROJECT: ("switch project-level MCP on in Trae's settings",),
                Scope.USER: ("switch the server on in Trae's settings, under MCP",),
            },
            without_dsn_file=_FROM_A_SHELL.format(title="Trae"),
        ),
    )
}
