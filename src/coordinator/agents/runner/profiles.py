"""The kinds of commands that the runner knows: how each is started by default, and how it is read.

A model's client gets our MCP server, which speaks through the runner's window, and may use its
tools without asking anybody; what else it may do is its own configuration's business. A command of
one's own may take the default one's place; it must print what the rule reads.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coordinator.agents.runner import verdicts
from coordinator.agents.runner.verdicts import Ran, Rule

Note = Callable[[str], str | None]
"""What a line of output says about the progress, if anything."""


@dataclass(frozen=True, slots=True)
class Tools:
    """How a client starts the MCP server that speaks for the runner's agent."""

    command: tuple[str, ...]
    environ: Mapping[str, str]


Command = Callable[[Tools, str | None], tuple[str, ...]]
"""Makes the default command; the second argument is a thread to go on in."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a kind of command is started, and how its end is read."""

    name: str
    program: str | None
    """What is run if the operator names nothing; None where one must."""
    command: Command
    rule: Rule
    note: Note
    """For lines of stdout; a line of stderr is a note as it is."""
    thread: Callable[[Ran], str | None]
    """Which thread a command has left behind, that a later one could go on in."""

    @property
    def is_model(self) -> bool:
        """Whether a model is behind it, which settles by a tool of ours."""
        return self.program is not None


def _no_default(_: Tools, __: str | None) -> tuple[str, ...]:
    raise LookupError("a plain command has no default")


def _claude(tools: Tools, thread: str | None) -> tuple[str, ...]:
    # Its tools would be there only after a search otherwise, and it would ask before it uses them.
    server = {"command": tools.command[0], "args": tools.command[1:], "env": dict(tools.environ)}
    servers = {"mcpServers": {"coordinator": {**server, "alwaysLoad": True}}}
    return (
        *("claude", "-p", *_resumed("--resume", thread)),
        *("--mcp-config", json.dumps(servers)),
        *("--allowedTools", "mcp__coordinator"),
        *("--output-format", "json"),
    )


def _codex(tools: Tools, thread: str | None) -> tuple[str, ...]:
    # It would begin without the tools if they were not there in a second, were they not required.
    server = {
        "command": json.dumps(tools.command[0]),
        "args": json.dumps(tools.command[1:]),
        "env": _toml_table(tools.environ),
        "required": "true",
    }
    options = [part for key, value in server.items() for part in ("-c", f"{_CODEX}.{key}={value}")]
    return ("codex", "exec", *_resumed("resume", thread), "--json", *options, "-")


def _gemini(_: Tools, thread: str | None) -> tuple[str, ...]:
    # It needs no -p: without a terminal it answers what it reads, and ends. In a folder that is not
    # trusted it starts no server. No option names one: it must stand in its settings already.
    resumed = _resumed("--resume", thread)
    return ("gemini", *resumed, "--skip-trust", "--output-format", "json")


_CODEX = "mcp_servers.coordinator"


def _resumed(option: str, thread: str | None) -> tuple[str, ...]:
    return () if thread is None else (option, thread)


def _toml_table(values: Mapping[str, str]) -> str:
    # A string of JSON in ASCII is one of TOML as well.
    return "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items()) + "}"


def _itself(line: str) -> str:
    return line


def _nothing(_: object) -> None:
    return None


def _codex_note(line: str) -> str | None:
    try:
        item = json.loads(line)["item"]
        told = item.get("text") or item.get("command")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return told if isinstance(told, str) else None


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("plain", None, _no_default, verdicts.plain, _itself, _nothing),
        Profile("claude", "claude", _claude, verdicts.claude, _nothing, verdicts.session_of),
        Profile("codex", "codex", _codex, verdicts.codex, _codex_note, verdicts.thread_of),
        Profile("gemini", "gemini", _gemini, verdicts.gemini, _nothing, verdicts.session_of),
    )
}
