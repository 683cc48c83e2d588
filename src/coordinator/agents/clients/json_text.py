"""Edits JSON as text: everything that is not changed stays, byte for byte, comments as well.

One difference after the other is removed, until the text means what it should. What is added goes
behind the last of its siblings, indented as they are; what is removed takes its comma along, and
leaves the comments around it.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from coordinator.agents.clients.json_tree import Node, parse
from coordinator.agents.clients.plain import Data, WrongShape, same
from coordinator.agents.clients.texts import Splice, spliced

_INDENTED = re.compile(r'^([ \t]+)"', re.MULTILINE)
_COMMENT = re.compile(r"//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_DEFAULT_UNIT = "  "


def read(text: str) -> Data:
    """Return what the text means; {} if it is empty.

    Raises Unreadable, and WrongShape where it is JSON but no object.
    """
    if not text.strip("\ufeff \t\r\n"):
        return {}
    value = parse(text).value
    if not isinstance(value, dict):
        raise WrongShape((), "an object")
    return value


def rewritten(text: str, after: Data) -> str:
    """Return the text, changed as little as possible so that it means `after`."""
    if same(read(text), after):
        return text
    style = _Style.of(text)
    if not text.strip("\ufeff \t\r\n"):
        return text + style.dumped(after, "") + style.newline
    while splices := _first_difference(text, parse(text), after, style):
        text = spliced(text, splices)
    return text


def dumped(value: object) -> str:
    """Write a value as it would be written into an empty file."""
    return _Style.of("").dumped(value, "")


@dataclass(frozen=True, slots=True)
class _Style:
    """How the text is laid out."""

    unit: str
    newline: str
    is_one_line: bool

    @staticmethod
    def of(text: str) -> "_Style":
        indented = _INDENTED.search(text)
        bare = text.strip()
        return _Style(
            indented[1] if indented else _DEFAULT_UNIT,
            "\r\n" if "\r\n" in text else "\n",
            not _has_lines(bare) and bare not in ("", "{}"),
        )

    def dumped(self, value: object, indent: str) -> str:
        """Write a value over several lines; an array without objects on one."""
        inner = indent + self.unit
        if isinstance(value, dict) and value:
            items = [f"{_plain(key)}: {self.dumped(each, inner)}" for key, each in value.items()]
            return self._between("{", items, "}", indent)
        if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
            return self._between("[", [self.dumped(each, inner) for each in value], "]", indent)
        return _plain(value)

    def _between(self, opening: str, items: list[str], closing: str, indent: str) -> str:
        lead = self.newline + indent
        return f"{opening}{lead}{self.unit}" + f",{lead}{self.unit}".join(items) + lead + closing


def _first_difference(text: str, node: Node, after: object, style: _Style) -> list[Splice]:
    """Return the splices that remove one difference; none if there is none."""
    if same(node.value, after):
        return []
    if isinstance(node.value, dict) and isinstance(after, dict):
        return _in_object(text, node, after, style)
    if isinstance(node.value, list) and isinstance(after, list):
        return _in_array(text, node, after, style)
    return [(node.start, node.end, style.dumped(after, _indent_at(text, node.start)))]


def _in_object(text: str, node: Node, after: Data, style: _Style) -> list[Splice]:
    for index, part in enumerate(node.parts):
        if part.key not in after:
            return _removal(text, node, index)
    # Of two members of one name the last counts.
    for key, part in {part.key: part for part in node.parts}.items():
        if key is not None and not same(part.node.value, after[key]):
            return _first_difference(text, part.node, after[key], style)
    key = next(key for key in after if key not in node.value)
    return _addition(text, node, f"{_plain(key)}: ", after[key], style)


def _in_array(text: str, node: Node, after: list[Any], style: _Style) -> list[Splice]:
    pairs = zip(node.parts, after, strict=False)
    unlike = [index for index, (part, item) in enumerate(pairs) if not same(part.node.value, item)]
    if len(node.parts) > len(after):
        return _removal(text, node, unlike[0] if unlike else len(after))
    if unlike:
        return _first_difference(text, node.parts[unlike[0]].node, after[unlike[0]], style)
    return _addition(text, node, "", after[len(node.parts)], style)


def _removal(text: str, node: Node, index: int) -> list[Splice]:
    part = node.parts[index]
    before = node.parts[index - 1] if index else None
    begin = node.start + 1 if before is None or before.comma is None else before.comma + 1
    comment = _last_comment(text, begin, part.start)
    begin = comment.end() if comment else begin
    needs_end = comment is not None and comment[0].startswith("//")

    def cut(end: int) -> Splice:
        ends = text[end:].lstrip(" \t").startswith(("\n", "\r\n"))
        return begin, end, "\n" if needs_end and not ends else ""

    if part.comma is not None:
        return [cut(part.comma + 1)]
    if before is not None and before.comma is not None:
        return [(before.comma, before.comma + 1, ""), cut(part.node.end)]
    around = text[node.start + 1 : part.start] + text[part.node.end : node.end - 1]
    if not around.strip():
        return [(node.start + 1, node.end - 1, "")]
    return [cut(part.node.end)]


def _addition(text: str, node: Node, name: str, value: object, style: _Style) -> list[Splice]:
    inside = text[node.start + 1 : node.end - 1]
    outer = _indent_at(text, node.start)
    if not node.parts:
        end = _end_of_comments(text, node.start + 1, node.end - 1)
        if style.is_one_line and end == node.start + 1:
            return [(end, node.end - 1, name + _plain(value))]
        if style.is_one_line:
            return [(end, end, " " + name + _plain(value))]
        lead = style.newline + outer + style.unit
        item = lead + name + style.dumped(value, outer + style.unit)
        return [(end, node.end - 1, item + style.newline + outer)]
    last = node.parts[-1]
    from_ = last.node.end if last.comma is None else last.comma + 1
    place = _end_of_comments(text, from_, node.end - 1)
    if _has_lines(inside):
        indent = _own_indent(text, last.start)
        indent = outer + style.unit if indent is None else indent
        item = style.newline + indent + name + style.dumped(value, indent)
    else:
        item = " " + name + _plain(value)
    if last.comma is not None:
        return [(place, place, item + ",")]
    if place == from_:
        return [(place, place, "," + item)]
    return [(from_, from_, ","), (place, place, item)]


def _has_lines(text: str) -> bool:
    return "\n" in text or "\r" in text


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _end_of_comments(text: str, start: int, end: int) -> int:
    """Where the last comment between two places ends; the first place if there is none."""
    last = _last_comment(text, start, end)
    return last.end() if last else start


def _last_comment(text: str, start: int, end: int) -> re.Match[str] | None:
    return next(iter([*_COMMENT.finditer(text, start, end)][-1:]), None)


def _indent_at(text: str, offset: int) -> str:
    """The white space at the head of the line."""
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _own_indent(text: str, offset: int) -> str | None:
    """The white space before it, if it begins its line; else None."""
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return None if line.strip(" \t") else line
