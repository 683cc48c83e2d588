"""The entry of our MCP server among a client's servers."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from coordinator.agents.clients.commands import Wanted, launcher, served
from coordinator.agents.clients.described import Client
from coordinator.agents.clients.plain import (
    Data,
    Path,
    list_at,
    merged,
    object_at,
    placed,
    same,
)

NAME = "coordinator"
_ALLOW = ("permissions", "allow")


class NameTaken(Exception):
    """The name of our entry belongs to another server."""


def entry(client: Client, wanted: Wanted) -> Data:
    """Return the entry as `install` writes it."""
    handed_on = {} if wanted.dsn_file else client.handed_on
    return {"command": wanted.program, "args": wanted.arguments, **client.entry, **handed_on}


def ours(data: Data, client: Client, agent: str | None = None) -> dict[str, Wanted]:
    """Return our servers by the names of their entries; those of one agent, if one is given.

    Raises WrongShape where there is no object of servers.
    """
    found = {}
    for name, value in object_at(data, (client.servers_key,)).items():
        if isinstance(value, dict):
            wanted = served(value.get("command"), value.get("args"))
            if wanted and agent in (None, wanted.agent):
                found[name] = wanted
    return found


def installed(data: Data, client: Client, wanted: Wanted) -> tuple[Data, str]:
    """Return the data with our entry, new or brought up to date, and the entry's name.

    Raises NameTaken where another server has the name, and WrongShape.
    """
    servers = object_at(data, (client.servers_key,))
    there = ours(data, client)
    name = _chosen(there, wanted.agent)
    new = entry(client, wanted)
    if name in there:
        # Our keys that say who and how are set whatever they were, but for a launcher before them.
        start = launcher(servers[name].get("command"), servers[name].get("args"))
        if start:
            new |= {"command": start[0], "args": [*start[1:], *wanted.arguments]}
        kept = {**servers[name], "command": new["command"], "args": new["args"]}
        new = merged(kept, entry(client, there[name]), new)
    elif name in servers:
        raise NameTaken(f"{client.servers_key}.{name}")
    return placed(data, (client.servers_key, name), new), name


def removed(data: Data, client: Client, agent: str | None) -> Data:
    """Return the data without our entries; raises WrongShape."""
    names = ours(data, client, agent)
    if not names:
        return data
    servers = object_at(data, (client.servers_key,))
    left = {name: value for name, value in servers.items() if name not in names}
    return placed(data, (client.servers_key,), left)


def edited(data: Data, client: Client, agent: str | None) -> Iterator[str]:
    """Name what of our entries is not as `install` writes it."""
    servers = object_at(data, (client.servers_key,))
    for name, wanted in ours(data, client, agent).items():
        keys = _differing(servers[name], entry(client, wanted))
        if keys:
            yield f"{client.servers_key}.{name}: {', '.join(keys)}"


def allowed(data: Data, name: str) -> Data:
    """Return the data with all tools of this server allowed; raises WrongShape."""
    rules = _rules(data)
    return data if _rule(name) in rules else placed(data, _ALLOW, [*rules, _rule(name)])


def not_allowed(data: Data, names: Iterable[str], made: Collection[Path] | None) -> Data:
    """Return the data without the rules that allow these servers; raises WrongShape.

    `made` has the rules that were not there before us; None if that is not known.
    """
    gone = {_rule(name) for name in names if made is None or (*_ALLOW, _rule(name)) in made}
    rules = _rules(data)
    left = [rule for rule in rules if not (isinstance(rule, str) and rule in gone)]
    return data if len(left) == len(rules) else placed(data, _ALLOW, left)


def _chosen(there: Mapping[str, Wanted], agent: str) -> str:
    """The entry to bring up to date: this agent's, else the one of our name, else the only one."""
    names = [name for name, wanted in there.items() if wanted.agent == agent]
    if names or NAME in there:
        return names[0] if names else NAME
    return next(iter(there)) if len(there) == 1 else NAME


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*one, *other])
    return [key for key in keys if not (key in one and key in other and same(one[key], other[key]))]


def _rule(name: str) -> str:
    return f"mcp__{name}"


def _rules(data: Data) -> list[Any]:
    return list_at(data, _ALLOW)
