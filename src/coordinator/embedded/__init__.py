"""A private PostgreSQL server for `demo`, `dev` and the tests; nothing is left running.

The server is a child of this process and dies with it. It listens on a unix socket in a
directory that only its owner can enter, and on no network. Nothing here talks SQL.
"""

from coordinator.embedded.binaries import ServerBinaries, find_binaries
from coordinator.embedded.server import PrivateServer

__all__ = ["PrivateServer", "ServerBinaries", "find_binaries"]
