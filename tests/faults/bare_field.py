"""A field without a load: a server, and whatever a test itself runs on it."""

import random
from pathlib import Path

from tests.faults.field import Field
from tests.support.postgres import Database


def bare_field(database: Database, directory: Path, *, seed: int = 1) -> Field:
    """A database that faults may strike."""
    return Field(
        chance=random.Random(seed),
        database=database,
        daemons=[],
        agents=[],
        senders=[],
        notes=directory,
    )
