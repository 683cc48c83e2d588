"""The kinds of commands that the runner knows: what each is called by default, and how it is read.

A command of one's own may take the place of the default one; it must then print what the rule
reads. Read, not run: the flags are those of the clients' own pages.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coordinator.agents.runner import verdicts
from coordinator.agents.runner.verdicts import Rule

Note = Callable[[str], str | None]
"""What a line of output says about the progress, if anything."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a kind of command is started, and how its end is read."""

    name: str
    command: tuple[str, ...]
    """Run if the operator names none; () where one must."""
    rule: Rule
    note: Note
    """For lines of stdout; a line of stderr is a note as it is."""


def _itself(line: str) -> str:
    return line


def _nothing(_: str) -> None:
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
        Profile("plain", (), verdicts.plain, _itself),
        Profile(
            "claude",
            # Without the last two it may not call the tools of a server named coordinator.
            ("claude", "-p", "--output-format", "json", "--allowedTools", "mcp__coordinator"),
            verdicts.claude,
            _nothing,
        ),
        Profile("codex", ("codex", "exec", "--json", "-"), verdicts.codex, _codex_note),
        # It needs no -p: without a terminal it answers what it reads, and ends.
        Profile("gemini", ("gemini", "--output-format", "json"), verdicts.gemini, _nothing),
    )
}
