"""The programs of the load, ready to be started again and again by a `Member`.

`prefix` stands before the command, as `("ip", "netns", "exec", "name")` does. A clock that is faked
by `env` must leave CLOCK_MONOTONIC alone, since the notes are ordered by it.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from tests.faults.field import Spawn
from tests.faults.load.orders import AgentOrders, SenderOrders
from tests.support.processes import running

_ROOT = Path(__file__).parents[3]
_HEARTBEAT = timedelta(milliseconds=500)


def sdk_agents(
    dsn: str,
    notes: Path,
    names: Sequence[str],
    seed: str,
    *,
    heartbeat: timedelta = _HEARTBEAT,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Spawn:
    """Agents of the SDK in one process; its login is a `coordinator_agent`."""
    orders = _agents(dsn, notes, names, seed, heartbeat)
    return _program("sdk_agents", orders, prefix, env)


def plain_agents(
    dsn: str,
    notes: Path,
    names: Sequence[str],
    seed: str,
    *,
    heartbeat: timedelta = _HEARTBEAT,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Spawn:
    """Agents in plain SQL in one process; its login is a `coordinator_plain_agent`."""
    orders = _agents(dsn, notes, names, seed, heartbeat)
    return _program("plain_agents", orders, prefix, env)


def senders(
    dsn: str,
    notes: Path,
    name: str,
    seed: str,
    *,
    to: Sequence[str],
    rate: float,
    heartbeat: timedelta = _HEARTBEAT,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Spawn:
    """Three senders in one process, whose login needs both roles of agents.

    `rate` counts what they hand off in a second; with what follows from that, and with attempts
    that are repeated, the agents get nearly twice as much. `to` are the agents addressed by name.
    """
    orders = SenderOrders(
        dsn=dsn,
        notes=notes,
        seed=seed,
        name=name,
        to=tuple(to),
        rate=rate,
        heartbeat_s=heartbeat.total_seconds(),
    )
    return _program("senders", orders, prefix, env)


def _agents(
    dsn: str, notes: Path, names: Sequence[str], seed: str, heartbeat: timedelta
) -> AgentOrders:
    return AgentOrders(
        dsn=dsn, notes=notes, seed=seed, names=tuple(names), heartbeat_s=heartbeat.total_seconds()
    )


def _program(
    name: str, orders: BaseModel, prefix: Sequence[str], env: Mapping[str, str] | None
) -> Spawn:
    command = [*prefix, sys.executable, "-m", f"tests.faults.load.{name}", orders.model_dump_json()]
    return lambda: running(command, env=env, cwd=_ROOT)
