"""What the command line asks of the demo and of the development server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DevOptions:
    """How to run a private PostgreSQL and the daemon on it."""

    pg_bin: Path | None = None
    """The folder with `postgres` and `initdb`; None looks in the usual places."""
    data_dir: Path | None = None
    """Where the data is kept; None means a default place (dev) or a temporary one (demo)."""
    json: bool = False
    """JSON on stdout instead of words: data as documents, log lines as objects."""
    color: bool = False
    """Whether stdout is a terminal that wants colour."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The environment that child processes inherit."""


@dataclass(frozen=True, slots=True)
class DemoOptions(DevOptions):
    """The same, with three agents that hand work to each other."""

    forever: bool = False
    """Keep server, daemon and agents running after the show, until interrupted."""
