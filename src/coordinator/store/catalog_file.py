"""Write what the migrations make: `python -m coordinator.store.catalog_file --supabase FILE`.

FILE dresses an empty database as a Supabase project, which the business half needs; the tests have
one. A private server is started for it. Run it after every change to a migration; a test fails
until then.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import anyio

from coordinator.core.errors import CoordinatorError
from coordinator.embedded import PrivateServer, find_binaries
from coordinator.store.catalog import Catalog, digest, file_name, snapshot
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.halves import Half
from coordinator.store.migrations import migrations


async def make_catalog(connection: Connection, half: Half) -> Catalog:
    """Apply one half's migrations, and note what it looks like after each.

    What is in schema public already, apart from the other half, is taken for nobody's.
    """
    looks = {}
    strange = set(await _public_names(connection))
    for migration in migrations(half):
        await connection.execute(migration.text)
        names = sorted(set(await _public_names(connection)) - strange)
        looks[migration.version] = await snapshot(connection, half, public_names=names)
    return Catalog(
        public_names=tuple(names),
        digests={version: digest(look) for version, look in looks.items()},
        objects=looks[migrations(half)[-1].version],
    )


def main() -> None:
    """Write the files into the source tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--supabase", type=Path, required=True, metavar="FILE")
    supabase: Path = parser.parse_args().supabase
    try:
        catalogs = anyio.run(_make_all, supabase.read_text("utf-8"))
    except CoordinatorError as error:
        sys.exit(str(error))
    for half, catalog in catalogs.items():
        Path(__file__).with_name(file_name(half)).write_text(catalog.to_json(), "utf-8")


async def _make_all(supabase: str) -> dict[Half, Catalog]:
    with tempfile.TemporaryDirectory() as folder:
        async with PrivateServer.start(
            Path(folder, "pg"), find_binaries(), durable=False
        ) as server:
            target = connect_target(server.dsn())
            connection = await Connection.open(target, application_name="catalog")
            try:
                await connection.execute(supabase)
                return {half: await make_catalog(connection, half) for half in Half}
            finally:
                await connection.close()


async def _public_names(connection: Connection) -> list[str]:
    return [row["name"] for row in await connection.run("schema_public_names")]


if __name__ == "__main__":
    main()
