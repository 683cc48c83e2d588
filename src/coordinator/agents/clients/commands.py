"""The command lines that clients run, and how they are known again among what others wrote.

A line is ours by what it runs: `coordinator mcp`, `coordinator agent hook`. So it is found wherever
its owner has moved it, under whatever key, and behind a launcher such as `uvx` as well.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

_PROGRAM = "coordinator"
_SERVER = ("mcp",)
_HOOK = ("agent", "hook")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an entry of ours should do."""

    program: str
    agent: str
    roles: tuple[str, ...] = ()
    dsn_file: str | None = None
    """None where the server is to find DATABASE_URL in its environment."""

    @property
    def arguments(self) -> list[str]:
        """The server's, as an MCP client starts it, without a shell."""
        roles = [word for role in self.roles for word in ("--role", role)]
        file = ["--dsn-file", self.dsn_file] if self.dsn_file else []
        return [*_SERVER, "--agent", self.agent, *roles, *file]

    def hook_line(self, client: str, word: str) -> str:
        """Return the command of a hook, for a shell."""
        return shlex.join([self.program, *_HOOK, client, word, "--agent", self.agent])


@dataclass(frozen=True, slots=True)
class Called:
    """A hook's command of ours, taken apart."""

    client: str
    word: str
    wanted: Wanted


def served(command: object, arguments: object) -> Wanted | None:
    """Return what an MCP entry serves; None if it is not ours."""
    words = [command, *(arguments if isinstance(arguments, list) else [])]
    rest = _after(words, _SERVER)
    if rest is None:
        return None
    program, options = rest
    wanted = Wanted(program, agent="")
    for flag, value in _options(options):
        match flag:
            case "--agent":
                wanted = replace(wanted, agent=value)
            case "--role":
                wanted = replace(wanted, roles=(*wanted.roles, value))
            case "--dsn-file":
                wanted = replace(wanted, dsn_file=value)
            case _:
                pass
    return wanted


def called(line: object) -> Called | None:
    """Return what a hook's command calls; None if it is not ours."""
    if not isinstance(line, str):
        return None
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    rest = _after(words, _HOOK)
    if rest is None or len(rest[1]) < len(("CLIENT", "EVENT")):
        return None
    program, (client, word, *options) = rest
    agent = dict(_options(options)).get("--agent", "")
    return Called(client, word, Wanted(program, agent))


def _after(words: Sequence[object], what: tuple[str, ...]) -> tuple[str, list[str]] | None:
    """Find the program followed by these words; return it and what comes after them."""
    texts = [word if isinstance(word, str) else "" for word in words]
    for index, text in enumerate(texts):
        end = index + 1 + len(what)
        if PurePath(text).name == _PROGRAM and tuple(texts[index + 1 : end]) == what:
            return text, texts[end:]
    return None


def _options(words: list[str]) -> list[tuple[str, str]]:
    found = []
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag.startswith("--"):
            found.append((flag, value if equals else next(rest, "")))
    return found
