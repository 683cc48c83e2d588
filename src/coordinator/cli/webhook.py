"""The command `agent webhook`: an agent whose work is done behind a URL."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import (
    WEBHOOK_SECRET_VARIABLE,
    WEBHOOK_URL_VARIABLE,
    Common,
    common_options,
    required_dsn,
)
from coordinator.cli.ending import Unfit
from coordinator.cli.inputs import READABLE_FILE, Duration
from coordinator.cli.output import note, say, say_json, warn
from coordinator.core.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from coordinator.agents.webhook.addresses import Network
    from coordinator.agents.webhook.courier import Answered
    from coordinator.agents.webhook.run import Voices

_LONGEST_SECRET = 8192
_EXAMPLES = """\b
Examples:
  coordinator agent webhook --name flow --url https://flows.example.org/in --secret-file secret
  coordinator agent webhook --name local --url http://127.0.0.1:8000/ --secret-file secret \\
      --allow-private 127.0.0.0/8
"""


class _Network(click.ParamType):  # type: ignore[type-arg] # not generic in older releases of click
    """A range of addresses, such as 10.0.0.0/8."""

    name = "cidr"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Network":
        """Return the range, or refuse the value."""
        try:
            return ip_network(str(value))
        except ValueError as error:
            raise Unfit(
                f"Invalid value for '--allow-private': {error}.",
                fix="Write a range such as 10.0.0.0/8, 127.0.0.1/32 or fd00::/8.",
            ) from None


@click.command(epilog=_EXAMPLES)
@click.option("--name", required=True, help="The agent's name. One process to a name.")
@click.option("--role", "roles", multiple=True, help="A further address that it answers to.")
@click.option(
    "--url",
    help=f"Where to POST. A URL that is itself a secret goes into {WEBHOOK_URL_VARIABLE}.",
)
@click.option(
    "--secret-file",
    "secret_files",
    type=READABLE_FILE,
    multiple=True,
    help="File with the secret that signs; twice while secrets are exchanged. Or set "
    f"{WEBHOOK_SECRET_VARIABLE} to one or two, with a space between.",
)
@click.option(
    "--allow-private",
    "allowed",
    type=_Network(),
    multiple=True,
    help="Reach addresses in this range, though they are private, and over plain HTTP, too.",
)
@click.option("--ca-file", type=READABLE_FILE, help="Trust these authorities, and no others.")
@click.option(
    "--timeout",
    type=Duration(above_zero=True),
    default="10s",
    show_default=True,
    help="The limit of one request.",
)
@click.option(
    "--deliver-within",
    type=Duration(above_zero=True),
    default="20s",
    show_default=True,
    help="Give a handoff back that could not be delivered in this time; below accept_timeout.",
)
@click.option(
    "--probe-every",
    type=Duration(above_zero=True),
    default="1m",
    show_default=True,
    help="The longest pause between two pings of an endpoint that is down.",
)
@click.option(
    "--grace",
    type=Duration(),
    default="10s",
    show_default=True,
    help="How long a signal waits for the receiver to settle what it has.",
)
@common_options
def webhook(
    common: Common,
    *,
    name: str,
    roles: tuple[str, ...],
    url: str | None,
    secret_files: tuple[Path, ...],
    allowed: tuple["Network", ...],
    ca_file: Path | None,
    timeout: timedelta,
    deliver_within: timedelta,
    probe_every: timedelta,
    grace: timedelta,
) -> int:
    """Be an agent whose work is done behind a URL, by whoever answers there.

    Each handoff is announced by a signed POST that holds ids only. An answer of 2xx takes it; the
    receiver reads it, and settles it by its own calls, or at once by its answer. While the endpoint
    is down the agent is blocked, and gets no work. SIGTERM gives the work under way back, and ends
    with 0.
    """
    import anyio

    _load()
    from coordinator.agents.webhook.addresses import Reach
    from coordinator.agents.webhook.run import WebhookOptions, run_webhook
    from coordinator.agents.webhook.signing import Signer
    from coordinator.agents.webhook.target import Target

    settings = common.settings()
    if deliver_within >= settings.accept_timeout:
        raise Unfit(
            "--deliver-within must be below accept_timeout: later nobody could take it up",
            fix=f"accept_timeout is {settings.accept_timeout.total_seconds():g} s.",
        )
    options = WebhookOptions(
        dsn=required_dsn(settings),
        name=name,
        target=Target.parse(_url(url, os.environ)),
        signer=Signer.of(_secrets(secret_files, os.environ)),
        roles=roles,
        reach=Reach(allowed),
        ca_file=ca_file,
        timeout=timeout,
        deliver_within=deliver_within,
        probe_every=probe_every,
        grace=grace,
        heartbeat_interval=settings.heartbeat_interval,
    )
    voices = _json_voices(name) if common.as_json else _voices(name)
    anyio.run(run_webhook, options, voices)
    return ExitCode.OK


def _load() -> None:
    """Import the HTTP client; raise ConfigError where the extra is missing."""
    try:
        import coordinator.agents.webhook.wire  # noqa: F401 - loaded here, used below
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("httpcore2", "truststore"):
            raise
        raise ConfigError(
            "webhooks need a package that is not installed",
            f"there is no module {missing.name}",
            "Install the extra: pip install 'agent-coordinator[webhook]'.",
        ) from None


def _voices(name: str) -> "Voices":
    from coordinator.agents.webhook.run import Voices

    def answered(each: "Answered") -> None:
        why = f" ({each.trouble})" if each.trouble else ""
        say(f"{each.handoff_id} attempt {each.attempt}: {each.outcome}{why}")

    def endpoint(why: str | None) -> None:
        if why is None:
            note(f"agent {name} waits for handoffs: its webhook answers")
        else:
            warn(f"agent {name} takes no handoffs: {why}")

    return Voices(
        ready=lambda: note(f"agent {name} is registered"),
        answered=answered,
        endpoint=endpoint,
        lost=warn,
    )


def _json_voices(name: str) -> "Voices":
    def told(event: str, **fields: object) -> None:
        say_json({"event": event, "agent": name, **fields}, indent=None)

    def endpoint(why: str | None) -> None:
        if why is None:
            told("webhook.reached")
        else:
            told("webhook.lost", reason=why)

    return replace(
        _voices(name),
        answered=lambda each: say_json(each, indent=None),
        endpoint=endpoint,
        lost=lambda why: told("webhook.undelivered", reason=why),
    )


def _url(given: str | None, environ: Mapping[str, str]) -> str:
    url = given or environ.get(WEBHOOK_URL_VARIABLE)
    if not url:
        raise ConfigError(
            "no URL is named",
            f"there is no --url, and {WEBHOOK_URL_VARIABLE} is not set",
            "Write --url https://host/path.",
        )
    return url


def _secrets(files: tuple[Path, ...], environ: Mapping[str, str]) -> list[bytes]:
    if not files:
        return environ.get(WEBHOOK_SECRET_VARIABLE, "").encode().split()
    return [_secret_in(file) for file in files]


def _secret_in(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_LONGEST_SECRET)
    except OSError as error:
        raise ConfigError(
            f"the secret cannot be read from {file}", error.strerror, "Check --secret-file."
        ) from None
