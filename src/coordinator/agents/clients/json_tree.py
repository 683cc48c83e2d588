"""JSON as people write it, with comments and commas at the end, as a tree that knows its places."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from coordinator.agents.clients.texts import unreadable_at

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_PLAIN = re.compile(r"true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


@dataclass(slots=True)
class Part:
    """A member of an object, or an item of an array."""

    key: str | None
    start: int
    """Where its key, or the item, begins."""
    node: "Node"
    comma: int | None = None
    """Where the comma after it is, if there is one."""


@dataclass(slots=True)
class Node:
    """A value, and where it stands in the text."""

    start: int
    end: int
    value: Any
    parts: list[Part] = field(default_factory=list)
    """In the order of the text; none for what is neither an object nor an array."""


def parse(text: str) -> Node:
    """Return the tree of a document; raise Unreadable."""
    try:
        return _Reader(text).document()
    except RecursionError:
        raise unreadable_at(text, 0, "it is nested too deeply") from None


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def document(self) -> Node:
        node = self._value()
        if self._next():
            raise unreadable_at(self._text, self._at, "there is something after the end")
        return node

    def _next(self) -> str:
        """Skip spaces and comments; return the character there, "" at the end."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at : self._at + 1]

    def _value(self) -> Node:
        match self._next():
            case "{":
                return self._container("}")
            case "[":
                return self._container("]")
            case '"':
                start, value = self._at, self._string()
                return Node(start, self._at, value)
            case _:
                return self._plain()

    def _plain(self) -> Node:
        found = _PLAIN.match(self._text, self._at)
        if not found:
            raise unreadable_at(self._text, self._at, "a value is expected")
        start, self._at = self._at, found.end()
        try:
            return Node(start, self._at, json.loads(found[0]))
        except ValueError:
            raise unreadable_at(self._text, start, "the number has too many digits") from None

    def _string(self) -> str:
        found = _STRING.match(self._text, self._at)
        try:
            text: str = json.loads(found[0]) if found else ""
        except ValueError:
            found = None
        if not found:
            raise unreadable_at(self._text, self._at, "a string in double quotes is expected")
        self._at = found.end()
        return text

    def _container(self, close: str) -> Node:
        node = Node(self._at, self._at, {} if close == "}" else [])
        self._at += 1
        while (char := self._next()) != close:
            if node.parts and node.parts[-1].comma is None:
                raise unreadable_at(self._text, self._at, f"a comma or {close} is expected")
            part = self._part(char, close)
            if part.key is None:
                node.value.append(part.node.value)
            else:
                node.value[part.key] = part.node.value
            node.parts.append(part)
            if self._next() == ",":
                part.comma = self._at
                self._at += 1
        self._at += 1
        node.end = self._at
        return node

    def _part(self, char: str, close: str) -> Part:
        start = self._at
        if close == "]":
            return Part(None, start, self._value())
        if char != '"':
            raise unreadable_at(
                self._text, start, f"a name in double quotes or {close} is expected"
            )
        key = self._string()
        if self._next() != ":":
            raise unreadable_at(self._text, self._at, "a colon is expected")
        self._at += 1
        return Part(key, start, self._value())
