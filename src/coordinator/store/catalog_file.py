"""Write `catalog.json` from the migrations: `python -m coordinator.store.catalog_file [DSN]`.

DSN leads to an empty database; without one a private server is started. Run it after every change
to a migration; a test fails until then.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import anyio

from coordinator.core.errors import CoordinatorError
from coordinator.embedded import PrivateServer, find_binaries
from coordinator.store.catalog import FILE_NAME, Catalog, digest, snapshot
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.migrations import migrations


async def make_catalog(connection: Connection) -> Catalog:
    """Apply the migrations to an empty database, and note what it looks like after each."""
    looks = {}
    names: set[str] = set()
    for migration in migrations():
        await connection.execute(migration.text)
        looks[migration.version] = await snapshot(connection, public_names=None)
        names |= {_bare(key.name) for key in looks[migration.version] if _is_public(key.name)}
    return Catalog(
        public_names=tuple(sorted(names)),
        digests={version: digest(look) for version, look in looks.items()},
        objects=looks[migrations()[-1].version],
    )


def main() -> None:
    """Write the file into the source tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn", nargs="?", help="an empty database")
    dsn: str | None = parser.parse_args().dsn
    try:
        catalog = anyio.run(_from_private_server) if dsn is None else anyio.run(_from_dsn, dsn)
    except CoordinatorError as error:
        sys.exit(str(error))
    Path(__file__).with_name(FILE_NAME).write_text(catalog.to_json(), "utf-8")


async def _from_private_server() -> Catalog:
    with tempfile.TemporaryDirectory() as folder:
        async with PrivateServer.start(
            Path(folder, "pg"), find_binaries(), durable=False
        ) as server:
            return await _from_dsn(server.dsn())


async def _from_dsn(dsn: str) -> Catalog:
    connection = await Connection.open(connect_target(dsn), application_name="catalog")
    try:
        return await make_catalog(connection)
    finally:
        await connection.close()


def _is_public(name: str) -> bool:
    return name.startswith("public.")


def _bare(name: str) -> str:
    return name.removeprefix("public.").partition("(")[0]


if __name__ == "__main__":
    main()
