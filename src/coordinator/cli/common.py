"""What most commands share: where the configuration is, the form of the output, the database."""

import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from coordinator.cli.inputs import READABLE_FILE
from coordinator.core.errors import ConfigError
from coordinator.core.hidden import Hidden
from coordinator.core.wrapped import WrappedVariable
from coordinator.waking.door import FOLDER_VARIABLE

if TYPE_CHECKING:
    from coordinator.config import Settings
    from coordinator.store.connection import Connection

DEBUG_VARIABLE = "COORDINATOR_DEBUG"
TOKEN_VARIABLE = "COORDINATOR_MCP_TOKEN"  # noqa: S105 - the name of a variable
WEBHOOK_SECRET_VARIABLE = "COORDINATOR_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
WEBHOOK_URL_VARIABLE = "COORDINATOR_WEBHOOK_URL"
OTHER_VARIABLES = frozenset(
    {
        DEBUG_VARIABLE,
        TOKEN_VARIABLE,
        FOLDER_VARIABLE,
        WEBHOOK_SECRET_VARIABLE,
        WEBHOOK_URL_VARIABLE,
        *WrappedVariable,
    }
)
"""Variables that begin as the settings' do, and are read elsewhere."""
_APPLICATION_NAME = "coordinator-cli"
_ANSWER_WITHIN = timedelta(seconds=30)

Answer = TypeVar("Answer")
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Common:
    """The options that most commands have."""

    config: Path | None
    dsn_file: Path | None
    as_json: bool

    def settings(self, flags: Mapping[str, object] | None = None) -> "Settings":
        """Gather the configuration; raise ConfigError naming every wrong key."""
        from coordinator.config import Settings

        given = dict(flags or {})
        if self.dsn_file:
            given["dsn"] = _dsn_in(self.dsn_file)
        return Settings.load(os.environ, file=self.config, flags=given, others=OTHER_VARIABLES)


def json_option(command: Command) -> Command:
    """Give a command `--json`, which may also stand before the command's name."""
    option = click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout.")
    return option(command)


def wants_json(*, here: bool) -> bool:
    """Whether `--json` stands here or before the command's name."""
    return here or bool(click.get_current_context().find_root().params.get("as_json"))


def common_options(command: Callable[..., Answer]) -> Callable[..., Answer]:
    """Give a command `--config`, `--dsn-file` and `--json`; it gets them as a `Common` first."""

    @click.option("--config", type=READABLE_FILE, help="TOML file with settings.")
    @click.option(
        "--dsn-file",
        type=READABLE_FILE,
        help="File that holds the DSN. A DSN itself is a secret, and never stands in arguments.",
    )
    @json_option
    @functools.wraps(command)
    def with_common(
        *arguments: Any, config: Path | None, dsn_file: Path | None, as_json: bool, **options: Any
    ) -> Answer:
        common = Common(config, dsn_file, wants_json(here=as_json))
        return command(common, *arguments, **options)

    return with_common


def required_dsn(settings: "Settings") -> str:
    """Return the DSN; raise ConfigError, with the ways to give one, if there is none."""
    if settings.dsn is None:
        raise ConfigError(
            "no database is named",
            "neither COORDINATOR_DSN nor COORDINATOR_DSN_FILE nor DATABASE_URL is set, "
            "and there is no --dsn-file",
            "Set DATABASE_URL=postgresql://user:password@host:5432/database, "
            "or start a private database with: coordinator dev",
        )
    return Hidden(settings.dsn.get_secret_value())


def on_database(
    common: Common,
    work: Callable[["Connection"], Awaitable[Answer]],
    *,
    answer_within: timedelta = _ANSWER_WITHIN,
) -> Answer:
    """Do the work on one connection and return its answer."""
    import anyio

    dsn = required_dsn(common.settings())

    async def connected() -> Answer:
        async with opened(dsn, answer_within=answer_within) as connection:
            return await work(connection)

    return anyio.run(connected)


@asynccontextmanager
async def opened(
    dsn: str, *, answer_within: timedelta = _ANSWER_WITHIN
) -> AsyncIterator["Connection"]:
    """Connect for the length of the block."""
    from coordinator.store.connection import Connection
    from coordinator.store.dsn import connect_target

    connection = await Connection.open(
        connect_target(dsn), application_name=_APPLICATION_NAME, answer_within=answer_within
    )
    try:
        yield connection
    finally:
        await connection.close()


def _dsn_in(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"the DSN cannot be read from {file}", why, "Check --dsn-file.") from None
    if not text:
        raise ConfigError(
            f"the file {file} should hold the DSN, and is empty", None, "Check --dsn-file."
        )
    return text
