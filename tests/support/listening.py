"""A server that also listens on TCP, with rules of its own for who comes in and how."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from coordinator.embedded import PrivateServer, ServerBinaries
from tests.support.postgres import throw_away_server

_NO_SETTINGS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ListeningServer:
    """A throw-away server; its unix socket lets everybody in."""

    server: PrivateServer
    address: str
    """An address on the loopback interface that nobody else uses, and there port 5432."""

    @property
    def odd_address(self) -> str:
        """The same address as no program writes it: nobody can see that it is a local one."""
        first, *rest = map(int, self.address.split("."))
        return f"{first}.{int.from_bytes(bytes(rest), 'big')}"

    def dsn(
        self,
        database: str,
        user: str,
        password: str | None = None,
        *,
        host: str | None = None,
        **parameters: str,
    ) -> str:
        """The way in by TCP; `host` is another way to write the address."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
        place = f"postgresql://{user}{secret}@{host or self.address}:5432/{database}"
        return f"{place}?{query}" if query else place


@asynccontextmanager
async def listening_server(
    access: str,
    settings: Mapping[str, str] = _NO_SETTINGS,
    *,
    binaries: ServerBinaries | None = None,
) -> AsyncIterator[ListeningServer]:
    """Run a server with these lines of `pg_hba.conf`, of those that come by TCP."""
    address = ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        # The server may run as another user than this process.
        Path(name).chmod(0o755)
        rules = Path(name, "pg_hba.conf")
        rules.write_text(f"local all all trust\n{access}\n")
        rules.chmod(0o644)
        chosen = {"listen_addresses": address, "hba_file": str(rules)}
        async with throw_away_server(binaries, {**chosen, **settings}) as server:
            yield ListeningServer(server, address)
