"""The release after this one: this tree with one migration more, run from a folder of its own."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running

ROOT = Path(__file__).parents[2]
VERSION = "29991231235959"
ADDING = Path(__file__).with_name("next_release.sql")
"""A migration that only adds, something of each kind that docs/schema.md allows."""


@dataclass(frozen=True, slots=True)
class NextRelease:
    """Its source tree; its dependencies are ours."""

    tree: Path

    def run(
        self, database: Database, *command: str, **settings: str
    ) -> AbstractAsyncContextManager[RunningProcess]:
        """Run one of its commands; `settings` are named as in the configuration."""
        env = {f"COORDINATOR_{name.upper()}": value for name, value in settings.items()}
        return running(
            [sys.executable, "-P", "-m", "coordinator", *command],
            env={"PYTHONPATH": str(self.tree / "src"), "DATABASE_URL": database.dsn, **env},
        )

    def daemon(
        self, database: Database, *timings: Mapping[str, str], **settings: str
    ) -> AbstractAsyncContextManager[RunningProcess]:
        """Run its daemon."""
        chosen = {"health_tcp": "off", "log_format": "json"}
        for timing in timings:
            chosen |= timing
        return self.run(database, "run", **chosen, **settings)


def next_release(place: Path, *, name: str = "weather") -> NextRelease:
    """Lay it below `place`; `name` is that of its migration."""
    tree = place / "next-release"  # pyproject.toml keeps it out of the coverage by that name
    for part in ("src", "schema"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    migrations = tree / "schema" / "supabase" / "migrations"
    (migrations / f"{VERSION}_{name}.sql").write_text(ADDING.read_text())
    supabase = ROOT / "tests" / "support" / "supabase.sql"
    subprocess.run(
        [sys.executable, "-P", "-m", "coordinator.store.catalog_file", "--supabase", supabase],
        env={"PYTHONPATH": str(tree / "src"), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    return NextRelease(tree)
