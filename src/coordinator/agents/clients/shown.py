"""What a change of a client's file is told as: our own keys and values, and nothing beside them.

The files hold others' tokens, often on the line that we add to, and what is told ends up in logs
and before models. So it is not the texts that are compared, but what they mean: only what differs
is told, by the keys on the way to it. Of that, a text that `install` would not have written itself,
such as a variable that the owner has given our server, is left out.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import zip_longest

from coordinator.agents.clients import json_text, servers
from coordinator.agents.clients.commands import called
from coordinator.agents.clients.described import Client
from coordinator.agents.clients.opened import Planned
from coordinator.agents.clients.plain import Data, same

_LEFT_OUT = "..."
_NOWHERE = "/dev/null"
_BARE = re.compile(r"[\w-]+")
_RULE = re.compile(r"mcp__[\w-]+")
_NOTHING = object()


def difference(planned: Planned, client: Client) -> list[str]:
    """Return the change line by line: first the file, then what goes (-) and what comes (+)."""
    change = planned.change
    known = frozenset(_known(client, planned.before, planned.after))
    lines = [
        f"--- {_NOWHERE if change.before is None else change.path}",
        f"+++ {_NOWHERE if change.after is None else change.path}",
    ]
    for sign, place, value in _compared("", planned.before, planned.after):
        text = json_text.dumped(_without_others(value, known))
        lines += [f"{sign} {line}" for line in f"{place}: {text}".split("\n")]
    return lines


_Difference = tuple[str, str, object]
"""- or +, the keys on the way, and what is there."""


def _compared(place: str, old: object, new: object) -> Iterator[_Difference]:
    if same(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            inner = f"{place}.{_key(key)}" if place else _key(key)
            yield from _compared(inner, old.get(key, _NOTHING), new.get(key, _NOTHING))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _compared_items(place, old, new)
    elif old is _NOTHING and _is_way(new):
        yield from _compared(place, {}, new)
    elif new is _NOTHING and _is_way(old):
        yield from _compared(place, old, {})
    else:
        if old is not _NOTHING:
            yield "-", place, old
        if new is not _NOTHING:
            yield "+", place, new


def _compared_items(place: str, old: list[object], new: list[object]) -> Iterator[_Difference]:
    texts = [
        [json.dumps(each, sort_keys=True, default=repr) for each in side] for side in (old, new)
    ]
    matcher = SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    for _, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        pairs = zip_longest(old[old_start:old_end], new[new_start:new_end], fillvalue=_NOTHING)
        for offset, (mine, yours) in enumerate(pairs):
            start = old_start if yours is _NOTHING else new_start
            yield from _compared(f"{place}[{start + offset}]", mine, yours)


def _is_way(value: object) -> bool:
    """Whether it is an object that only leads to others."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(each, dict | list) for each in value.values())
    )


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _without_others(value: object, known: frozenset[str]) -> object:
    match value:
        case dict():
            return {key: _without_others(each, known) for key, each in value.items()}
        case list():
            return [_without_others(each, known) for each in value]
        case None | bool() | int() | float():
            return value
        case str() if value in known or _RULE.fullmatch(value):
            return value
        case _:
            return _our_part(value)


def _our_part(value: object) -> str:
    line = called(value)
    if line is None or line.is_mixed:
        return _LEFT_OUT
    ours = line.wanted.hook_line(line.client, line.word)
    return ours if line.launcher is None else f"{_LEFT_OUT} {ours}"


def _known(client: Client, *datas: Data) -> Iterator[str]:
    """All texts that `install` would write, for whomever the server is."""
    yield "command"
    for hook in client.hooks:
        yield from _texts([hook.matcher, hook.more])
    for data in datas:
        if isinstance(data.get(client.servers_key), dict):
            for wanted in servers.ours(data, client).values():
                yield from _texts(servers.entry(client, wanted))
    yield from _texts([client.entry, client.handed_on])


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Iterable):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)
