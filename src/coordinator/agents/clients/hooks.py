"""Our handlers among a client's hooks.

An event has either groups, each with a matcher and handlers, or the handlers themselves. Ours are
brought up to date where they are; one that is wanted no more goes, and with it a group of its own.
A line in which a shell does more than run ours is neither changed nor removed, but named.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coordinator.agents.clients.commands import Called, Wanted, called
from coordinator.agents.clients.described import Client, Hook
from coordinator.agents.clients.plain import Data, list_at, merged, object_at, placed, same

_HOOKS = "hooks"


def handler(client: Client, hook: Hook, wanted: Wanted, launcher: str | None = None) -> Data:
    """Return one handler as `install` writes it, behind a launcher if one is given."""
    kind = {"type": "command"} if client.grouped else {}
    return {**kind, "command": wanted.hook_line(client.name, hook.word, launcher), **hook.more}


def settled(data: Data, client: Client, wanted: Wanted | None, agent: str | None = None) -> Data:
    """Return the data with our handlers as wanted; with none of them, if nothing is.

    Only handlers of `agent` are ours, if one is given. Raises WrongShape where the client would not
    read hooks.
    """
    due = {hook.event: hook for hook in client.hooks} if wanted else {}
    events = object_at(data, (_HOOKS,))
    for event in [*events, *(event for event in due if event not in events)]:
        if event not in due and not isinstance(events[event], list):
            # Gemini CLI has had switches there.
            continue
        before = list_at(data, (_HOOKS, event))
        sweep = _Sweep(client, due.get(event), wanted, agent)
        after = sweep.through(before)
        if not same(before, after):
            events[event] = after
    if not same(events, object_at(data, (_HOOKS,))):
        data = placed(data, (_HOOKS,), events)
    return {**client.frame, **data} if wanted and _needs_frame(data, client) else data


def edited(data: Data, client: Client, agent: str | None) -> Iterator[str]:
    """Name what of our handlers is not as `install` writes it."""
    for event, found, line in _all_ours(data, client, agent):
        hook = next((hook for hook in client.hooks if hook.event == event), None)
        as_written = hook and same(found, handler(client, hook, line.wanted))
        if not (line.is_mixed or as_written):
            yield f"{_HOOKS}.{event}"


def left(
    data: Data, client: Client, wanted: Wanted | None, agent: str | None = None
) -> Iterator[str]:
    """Tell which lines run ours among other commands and stay as they are, and what to do."""
    words = {hook.event: hook.word for hook in client.hooks} if wanted else {}
    for event, _, line in _all_ours(data, client, agent):
        if not line.is_mixed:
            continue
        told = f"{_HOOKS}.{event} has more than our command in its line, and is left as it is"
        if wanted is None or event not in words:
            yield f"{told}: take our part out by hand"
        elif (line.word, line.wanted.agent) == (words[event], wanted.agent):
            yield told
        else:
            yield f"{told}: let it run {wanted.hook_line(client.name, words[event])}"


@dataclass(slots=True)
class _Sweep:
    """One event's way through: the first handler of ours becomes what is due, others go."""

    client: Client
    due: Hook | None
    wanted: Wanted | None
    agent: str | None

    def through(self, items: list[Any]) -> list[Any]:
        kept = self._kept(items) if not self.client.grouped else self._groups(items)
        if self.due and self.wanted:
            new = handler(self.client, self.due, self.wanted)
            matcher = {"matcher": self.due.matcher} if self.due.matcher else {}
            kept.append({**matcher, _HOOKS: [new]} if self.client.grouped else new)
        return kept

    def _groups(self, groups: list[Any]) -> list[Any]:
        kept = []
        for group in groups:
            inner = group.get(_HOOKS) if isinstance(group, dict) else None
            if not isinstance(inner, list):
                kept.append(group)
                continue
            left = self._kept(inner)
            if left or not inner:
                kept.append({**group, _HOOKS: left})
        return kept

    def _kept(self, handlers: list[Any]) -> list[Any]:
        kept = []
        for each in handlers:
            line = _ours(each, self.client, self.agent)
            if line is None:
                kept.append(each)
            elif line.is_mixed:
                # Its owner has put it there: one of ours beside it would run twice.
                kept.append(each)
                self.due = None
            elif self.due and self.wanted:
                old = handler(self.client, self.due, line.wanted)
                new = handler(self.client, self.due, self.wanted, line.launcher)
                kept.append(merged({**each, "command": new["command"]}, old, new))
                self.due = None
        return kept


def _ours(found: object, client: Client, agent: str | None) -> Called | None:
    line = called(found.get("command")) if isinstance(found, dict) else None
    if line is None or line.client != client.name:
        return None
    return line if agent in (None, line.wanted.agent) else None


def _all_ours(
    data: Data, client: Client, agent: str | None
) -> Iterator[tuple[str, object, Called]]:
    for event, items in object_at(data, (_HOOKS,)).items():
        for found in _handlers(items if isinstance(items, list) else [], client):
            if line := _ours(found, client, agent):
                yield event, found, line


def _handlers(items: list[Any], client: Client) -> Iterator[object]:
    for item in items:
        inner = item.get(_HOOKS) if client.grouped and isinstance(item, dict) else [item]
        yield from inner if isinstance(inner, list) else []


def _needs_frame(data: Data, client: Client) -> bool:
    return any(key not in data for key in client.frame)
