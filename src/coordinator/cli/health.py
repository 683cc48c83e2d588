"""The command `health`, which container health checks call."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import Common, common_options
from coordinator.cli.ending import NEGATIVE
from coordinator.cli.inputs import Duration
from coordinator.cli.output import say, say_json
from coordinator.core.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from coordinator.daemon.addresses import Address

_OK = 200


@click.command()
@click.option("--socket", type=click.Path(path_type=Path), help="Ask at this unix socket.")
@click.option("--address", help="Ask at this host:port.")
@click.option("--ready", is_flag=True, help="Ask whether it does its work, not only lives.")
@click.option(
    "--timeout",
    type=Duration(above_zero=True),
    default="3s",
    show_default=True,
    help="How long to wait for the answer.",
)
@common_options
def health(
    common: Common, *, socket: Path | None, address: str | None, ready: bool, timeout: timedelta
) -> int:
    """Ask the daemon how it is. Exits with 0 if well, 1 if not, 69 if nobody answers.

    Without an address it asks where the configuration says that the daemon listens. It needs no
    database.
    """
    import anyio

    from coordinator.daemon.health_client import fetch_health

    if socket and address:
        raise click.UsageError("--socket and --address do not go together")
    asked = _given(socket, address) or _configured(common)
    path = "/readyz" if ready else "/livez"

    async def ask() -> tuple[int, bytes]:
        return await fetch_health(asked, f"{path}?verbose", within=timeout)

    http_status, body = anyio.run(ask)
    text = body.decode(errors="replace").strip()
    if common.as_json:
        say_json(
            {
                "ok": http_status == _OK,
                "asked": path,
                "address": str(asked),
                "http_status": http_status,
                "answer": text.splitlines(),
            }
        )
    else:
        say(text)
    return ExitCode.OK if http_status == _OK else NEGATIVE


def _given(socket: Path | None, address: str | None) -> "Address | None":
    from coordinator.daemon.addresses import UnixAddress, parse_address

    if socket:
        return UnixAddress(socket)
    return parse_address(address) if address else None


def _configured(common: Common) -> "Address":
    from coordinator.daemon.addresses import UnixAddress, parse_address

    settings = common.settings()
    if settings.health_socket:
        return UnixAddress(settings.health_socket)
    address = parse_address(settings.health_tcp)
    if address is None:
        raise ConfigError(
            "the daemon has no health socket",
            "health_tcp is off and health_socket is not set",
            "Set one of them, or name an address: --address host:port or --socket path.",
        )
    return address
