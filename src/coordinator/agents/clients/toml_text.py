"""Edits one table of a TOML file as text: everything else stays, byte for byte.

A file is a row of statements: headers, keys with values, comments, empty lines. Those of the table
are known by their keys; a comment between them, or after them, is not ours and stays. (tomlkit
counts what stands between a table and the next header as the table's, and removes it along.)

A table that is written inside another value is not edited, but refused.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coordinator.agents.clients.plain import Data, Path, same
from coordinator.agents.clients.texts import Splice, Uneditable, Unreadable, spliced

_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[^\"'#\n\[\]{}]+"
    r"|.",
    re.DOTALL,
)
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True)
class _Statement:
    start: int
    end: int
    """After its newline."""
    path: Path = ()
    """From the root; () for a comment or an empty line."""
    is_header: bool = False
    value: tuple[int, int] = (0, 0)
    """Where a key's value begins and ends."""


def read(text: str) -> Data:
    """Return what the text means; raise Unreadable."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        why = _PLACE.sub("", str(error)).strip()
        line, column = (int(place[1]), int(place[2])) if place else (text.count("\n") + 1, 1)
        raise Unreadable(why, line, column) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply", 1, 1) from None


def rewritten(text: str, after: Data) -> str:
    """Return the text, changed as little as possible so that it means `after`.

    Raises Uneditable where the change is not within tables of their own, one below a top-level key.
    """
    before = read(text)
    result = text
    for key in {**before, **after}:
        old, new = before.get(key, {}), after.get(key, {})
        if same(old, new):
            continue
        if not isinstance(old, dict) or not isinstance(new, dict):
            raise Uneditable(key)
        for name in {**old, **new}:
            if not same(old.get(name), new.get(name)):
                result = _with_table(result, (key, name), new.get(name))
    try:
        means = read(result)
    except Unreadable:
        raise Uneditable from None
    if not same(_without_empty(means), _without_empty(after)):
        raise Uneditable
    return result


def dumped(path: Path, table: Data, newline: str = "\n") -> str:
    """Write a table of plain values under its header."""
    lines = [f"[{'.'.join(map(_key, path))}]", *(_line(key, table[key]) for key in table)]
    return newline.join(lines) + newline


def _with_table(text: str, path: Path, table: object) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    statements = [each for each in _statements(text) if each.path[: len(path)] == path]
    if table is None:
        return spliced(text, list(_removal(text, statements)))
    if not isinstance(table, dict):
        raise Uneditable
    if not statements:
        gap = newline if text and not text.endswith("\n") else ""
        return text + gap + (newline if text.strip() else "") + dumped(path, table, newline)
    return spliced(text, list(_changes(text, statements, path, table, newline)))


def _removal(text: str, statements: list[_Statement]) -> Iterator[Splice]:
    for each in statements:
        start = each.start
        if each.is_header:
            # The empty line that keeps it apart from what is above.
            above = text[:start]
            shorter = re.sub(r"(?<=\n)[ \t]*\r?\n\Z", "", above)
            start = len(shorter)
        yield start, each.end, ""


def _changes(
    text: str, statements: list[_Statement], path: Path, table: Data, newline: str
) -> Iterator[Splice]:
    header = next((each for each in statements if each.is_header and each.path == path), None)
    values = {
        each.path[-1]: each
        for each in statements
        if not each.is_header and len(each.path) == len(path) + 1
    }
    if header is None:
        raise Uneditable
    old = read(text)
    for key in path:
        old = old[key]
    for key, each in values.items():
        if key not in table:
            yield each.start, each.end, ""
        elif not same(old[key], table[key]):
            yield *each.value, _value(table[key])
    new = [_line(key, table[key]) + newline for key in table if key not in old]
    if new:
        place = max([header.end, *(each.end for each in values.values())])
        gap = "" if text[:place].endswith("\n") else newline
        yield place, place, gap + "".join(new)


def _statements(text: str) -> Iterator[_Statement]:
    """Take apart a text that tomllib has read."""
    table: Path = ()
    for start, end in _extents(text):
        piece = text[start:end].strip()
        if not piece or piece.startswith("#"):
            yield _Statement(start, end)
        elif piece.startswith("["):
            table = _path(tomllib.loads(piece))
            yield _Statement(start, end, table, is_header=True)
        else:
            equals = _equals(text, start)
            keys = _path(tomllib.loads(text[start:equals] + "= 0"))
            yield _Statement(
                start, end, table + keys, value=_extent_of_value(text, equals + 1, end)
            )


def _extents(text: str) -> Iterator[tuple[int, int]]:
    start = at = depth = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        word = token[0] if token else text[at]
        at += len(word)
        if word in "[{":
            depth += 1
        elif word in "]}":
            depth -= 1
        elif word == "\n" and not depth:
            yield start, at
            start = at
    if start < at:
        yield start, at


def _extent_of_value(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the white space around it, and the comment after it."""
    at = last = start
    depth = 0
    while at < end and (token := _TOKEN.match(text, at, end)):
        word = token[0]
        if word.startswith("#") and not depth:
            break
        depth += (word in "[{") - (word in "]}")
        at = last = at + len(word)
    value = text[start:last]
    return last - len(value.lstrip()), start + len(value.rstrip())


def _equals(text: str, at: int) -> int:
    while True:
        token = _TOKEN.match(text, at)
        word = token[0] if token else ""
        if word[:1] not in "\"'" and "=" in word:
            return at + word.index("=")
        at += len(word)


def _path(data: object) -> Path:
    """The keys on the way to the innermost value, each of which is the only one."""
    keys = []
    while isinstance(data, dict | list) and data:
        if isinstance(data, dict):
            [(key, data)] = data.items()
            keys.append(key)
        else:
            data = data[-1]
    return tuple(keys)


def _line(key: str, value: object) -> str:
    return f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    match value:
        case bool() | int() | str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            raise Uneditable


def _without_empty(data: Data) -> Data:
    """A table that has lost its last table may be gone, and may be left."""
    return {key: value for key, value in data.items() if value != {}}
