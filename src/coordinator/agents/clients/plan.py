"""Decides what `install` and its undoing change, and in which files, before anything is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.agents.clients import hooks, plain, servers, toml_text
from coordinator.agents.clients.commands import Wanted
from coordinator.agents.clients.described import Client, Machine, Scope, Spot
from coordinator.agents.clients.files import Change
from coordinator.agents.clients.opened import NOTHING_WRITTEN, Deed, Opened, Planned
from coordinator.agents.clients.plain import Data
from coordinator.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Where:
    """Whose configuration it is, for whom, and on which machine."""

    client: Client
    scope: Scope
    machine: Machine
    memories: Path
    """The folder in which it is kept how to go back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be written."""

    files: tuple[Planned, ...]
    memories: Path
    before: str | None = None
    """Whose the server was, if it was there."""
    left: tuple[str, ...] = ()
    """What is said of hooks that run ours among other commands: they stay as they are."""

    @property
    def changes(self) -> Sequence[Change]:
        """In the order in which they are made: first how to go back, then the files."""
        memories = [planned.memory for planned in self.files]
        changes = [*memories, *(planned.change for planned in self.files)]
        return [change for change in changes if change.before != change.after]

    @property
    def folders(self) -> Sequence[str]:
        """Those to be removed afterwards, if they are empty."""
        own = [str(self.memories), str(self.memories.parent)]
        made = [folder for planned in self.files for folder in planned.folders]
        return sorted({*own, *made}, key=len, reverse=True)


def install(where: Where, wanted: Wanted, *, with_hooks: bool) -> Plan:
    """Return what brings the client's configuration up to date; raise ConfigError."""
    client = where.client
    files = _open(where)
    name, before = servers.NAME, None
    left: list[str] = []
    planned: list[Planned | None] = []
    for spot, file in files.items():
        after = file.before
        with file.refusing():
            there = bool(_ours_in(client, spot, after))
            if spot == client.servers_in:
                after, name, before = _with_server(file, client, wanted)
            if spot == client.hooks_in:
                hooked = wanted if with_hooks else None
                left += hooks.left(after, client, hooked)
                after = hooks.settled(after, client, hooked)
                after = servers.allowed(after, name) if client.allows else after
        planned.append(
            file.become(
                after,
                deed=Deed.UPDATE if there else Deed.ADD,
                husks=_husks(client),
                by_hand=_by_hand(client, wanted),
            )
        )
    owner = before.agent if before else None
    return Plan(_real(planned), where.memories, owner, tuple(left))


def undo(where: Where, agent: str | None) -> Plan:
    """Return what takes our entries back, those of one agent if one is given; raise ConfigError."""
    client = where.client
    files = _open(where)
    names = [] if agent else [servers.NAME]
    with files[client.servers_in].refusing():
        names += servers.ours(files[client.servers_in].before, client, agent)
    left: list[str] = []
    planned: list[Planned | None] = []
    for spot, file in files.items():
        made = file.memory.made

        def without_ours(
            data: Data, spot: Spot = spot, made: frozenset[plain.Path] | None = made
        ) -> Data:
            if spot == client.servers_in:
                data = servers.removed(data, client, agent)
            if spot == client.hooks_in:
                data = hooks.settled(data, client, None, agent)
                data = servers.not_allowed(data, names, made) if client.allows else data
            return data

        with file.refusing():
            edited = tuple(_edited(client, spot, file.before, agent))
            left += hooks.left(file.before, client, None, agent) if spot == client.hooks_in else ()
            planned.append(
                file.go_back(
                    without_ours, husks=_husks(client), frame=dict(client.frame), edited=edited
                )
            )
    return Plan(_real(planned), where.memories, left=tuple(left))


def _open(where: Where) -> dict[Spot, Opened]:
    spots = [where.client.servers_in, *([where.client.hooks_in] if where.client.hooks_in else [])]
    return {
        spot: Opened.at(
            spot.path(where.scope, where.machine),
            where.memories,
            is_private=where.scope is Scope.USER,
        )
        for spot in spots
    }


def _with_server(file: Opened, client: Client, wanted: Wanted) -> tuple[Data, str, Wanted | None]:
    try:
        after, name = servers.installed(file.before, client, wanted)
    except servers.NameTaken as taken:
        raise ConfigError(
            f"{file.path} has another server under our name",
            f"{taken} does not run coordinator mcp",
            f"Give it another name there, and try again: {NOTHING_WRITTEN}.",
        ) from None
    before = servers.ours(file.before, client).get(name)
    return after, name, before


def _ours_in(client: Client, spot: Spot, data: Data) -> bool:
    there = spot == client.servers_in and bool(servers.ours(data, client))
    if there or spot != client.hooks_in:
        return there
    return not plain.same(hooks.settled(data, client, None), data)


def _edited(client: Client, spot: Spot, data: Data, agent: str | None) -> Iterable[str]:
    if spot == client.servers_in:
        yield from servers.edited(data, client, agent)
    if spot == client.hooks_in:
        yield from hooks.edited(data, client, agent)


def _husks(client: Client) -> list[plain.Path]:
    events = [("hooks", hook.event) for hook in client.hooks]
    rules = [("permissions", "allow"), ("permissions",)] if client.allows else []
    return [(client.servers_key,), *rules, *events, *([("hooks",)] if client.hooks else [])]


def _by_hand(client: Client, wanted: Wanted) -> str:
    # Any JSON can be edited.
    if not client.servers_in.project.endswith(".toml"):
        return ""
    path = (client.servers_key, servers.NAME)
    lines = toml_text.dumped(path, servers.entry(client, wanted))
    return f"Put these lines into it, in place of what is there:\n{lines}"


def _real(planned: Iterable[Planned | None]) -> tuple[Planned, ...]:
    return tuple(each for each in planned if each)
