"""The command lines that clients run, and how they are known again among what others wrote.

A line is ours by what it runs: `coordinator mcp`, `coordinator agent hook`. So it is found wherever
its owner has moved it, under whatever key, and behind a launcher such as `uvx` as well. The
launcher is its owner's, and what a shell runs before or after our command is, too.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

_PROGRAM = "coordinator"
_SERVER = ("mcp",)
_HOOK = ("agent", "hook")
_OPERATORS = ";&|<>()`\r\n"
_QUOTED = r"""\\.|"(?:[^"\\]|\\.)*"|'[^']*'"""
_LITERAL = re.compile(_QUOTED, re.DOTALL)
_WORD = re.compile(rf"""(?:[^ \t"'\\]|{_QUOTED})+""", re.DOTALL)
_MORE_THAN_WORDS = re.compile(rf"[{_OPERATORS}]|(?<!\S)#")


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

    def hook_line(self, client: str, word: str, launcher: str | None = None) -> str:
        """Return the command of a hook, for a shell; behind a launcher, if one is given."""
        start = shlex.quote(self.program) if launcher is None else launcher
        return f"{start} {shlex.join([*_HOOK, client, word, '--agent', self.agent])}"


@dataclass(frozen=True, slots=True)
class Called:
    """A hook's command of ours, taken apart."""

    client: str
    word: str
    wanted: Wanted
    launcher: str | None = None
    """The line up to our program and with it, if other words stand before that."""
    is_mixed: bool = False
    """Whether a shell does more there than run our command: that is its owner's, and not edited."""


def launcher(command: object, arguments: object) -> list[object]:
    """Return the words of our MCP entry that stand before our program, and that; [] if none do."""
    words = _words(command, arguments)
    found = _after(words, _SERVER)
    length = len(words) - len(_SERVER) - len(found[1]) if found else 0
    return words[:length] if length > 1 else []


def served(command: object, arguments: object) -> Wanted | None:
    """Return what an MCP entry serves; None if it is not ours."""
    rest = _after(_words(command, arguments), _SERVER)
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
        words = _shell_words(line)
    except ValueError:
        return None
    rest = _after(words, _HOOK)
    if rest is None:
        return None
    is_mixed = bool(_MORE_THAN_WORDS.search(_LITERAL.sub("_", line)))
    program, own = rest
    if is_mixed:
        ends = (at for at, word in enumerate(own) if word[0:1] == "#" or word[0:1] in [*_OPERATORS])
        own = own[: next(ends, len(own))]
    if len(own) < len(("CLIENT", "EVENT")):
        return None
    client, word, *options = own
    agent = dict(_options(options)).get("--agent", "")
    before = len(words) - len(rest[1]) - len(_HOOK)
    launcher = (
        None if is_mixed or before == 1 else line[: [*_WORD.finditer(line)][before - 1].end()]
    )
    return Called(client, word, Wanted(program, agent), launcher, is_mixed)


def _words(command: object, arguments: object) -> list[object]:
    return [command, *(arguments if isinstance(arguments, list) else [])]


def _shell_words(line: str) -> list[str]:
    """The words of a line, operators among them; raises ValueError where a quote has no end."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


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
