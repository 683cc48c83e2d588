"""The command `mcp`: an agent whose body is a model, behind an MCP client."""

import gc
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import TOKEN_VARIABLE, Common, common_options, required_dsn
from coordinator.cli.inputs import READABLE_FILE
from coordinator.cli.output import note, say
from coordinator.core.errors import ConfigError, ExitCode
from coordinator.core.wrapped import WrappedVariable
from coordinator.waking.door import FOLDER_VARIABLE, Door

if TYPE_CHECKING:
    from coordinator.agents.mcp.http import HttpOptions
    from coordinator.agents.mcp.run import AgentOptions

_MODULES = ("mcp", "mcp_types", "starlette", "uvicorn")

_EXAMPLES = """\b
Examples:
  DATABASE_URL=postgresql://user@host/database coordinator mcp --agent claude-1 --role reviewer
  coordinator mcp --agent trae --http 127.0.0.1:8790 --token-file ~/.config/coordinator/token
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--agent",
    "name",
    help="The agent's name. One process to a name. Not needed inside `coordinator agent run`: "
    "there it is always the runner's agent.",
)
@click.option(
    "--role", "roles", multiple=True, help="Another address it answers to; may be repeated."
)
@click.option("--http", "address", help="Serve streamable HTTP here, such as 127.0.0.1:8790.")
@click.option(
    "--token-file",
    type=READABLE_FILE,
    help=f"File with the token that HTTP clients must show; or set {TOKEN_VARIABLE}.",
)
@click.option("--expose", is_flag=True, help="Let other machines reach the HTTP address.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    help="Another name by which HTTP clients call it, such as that of a proxy; may be repeated.",
)
@common_options
def mcp(
    common: Common,
    *,
    name: str | None,
    roles: tuple[str, ...],
    address: str | None,
    token_file: Path | None,
    expose: bool,
    allowed_hosts: tuple[str, ...],
) -> int:
    """Be an agent for an MCP client: Claude Code, Codex, Gemini, an IDE.

    On stdin and stdout, or over HTTP. Registers the agent, beats while the client is there, gives
    its model tools to take up handoffs and to hand tasks on, and leaves at the end.
    """
    if address is None and (token_file or expose or allowed_hosts):
        raise click.UsageError("--token-file, --expose and --allow-host are for --http")
    _load()
    from coordinator.agents.mcp.run import AgentOptions

    settings = common.settings()
    runner = _runner(os.environ, on_stdio=address is None)
    if runner is None and name is None:
        raise click.UsageError("Missing option '--agent'.")
    way, name = runner or (required_dsn(settings), name or "")
    options = AgentOptions(
        way,
        name,
        roles,
        settings.heartbeat_interval,
        # A wrapped client works on what its runner gives it, and is not to be woken for more.
        door=None if runner else Door.of(name, folder=os.environ.get(FOLDER_VARIABLE)),
        one_session=address is None,
    )
    if address is None:
        _on_stdio(options)
        return ExitCode.OK
    from coordinator.agents.mcp.http import HttpOptions, check, parse_address

    host, port = parse_address(address)
    http = HttpOptions(host, port, _token(token_file, os.environ), expose, allowed_hosts)
    check(http)
    _over_http(options, http, as_json=common.as_json)
    return ExitCode.OK


def _runner(environ: Mapping[str, str], *, on_stdio: bool) -> tuple[Path, str] | None:
    """Return the window of the runner whose command this is part of, and its agent's name.

    A client inside may be configured with another agent for its user's own sessions. To register
    that here would end the life that such a session has: so no other agent begins in here.
    """
    window, agent = environ.get(WrappedVariable.SOCKET), environ.get(WrappedVariable.AGENT)
    if window and agent and on_stdio:
        return Path(window), agent
    if WrappedVariable.HANDOFF_ID in environ:
        raise ConfigError(
            "no agent of its own can begin inside a wrapped command",
            f"{WrappedVariable.HANDOFF_ID} says that `coordinator agent run` has started this, and"
            " the name may be that of a live session",
            "Give the runner a --profile other than plain, which brings our tools along; or take"
            " the COORDINATOR_ variables out of the environment.",
        )
    return None


def _load() -> None:
    """Import the SDK; raise ConfigError where the extra is missing."""
    # A client waits for a first answer about a second, and most of that goes into this import. It
    # makes thousands of classes that stay: looking for garbage among them costs a tenth of it.
    gc.disable()
    try:
        import coordinator.agents.mcp.run
        import coordinator.agents.mcp.stdio  # noqa: F401 - loaded here, used below
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _MODULES:
            raise
        raise ConfigError(
            "the MCP server needs a package that is not installed",
            f"there is no module {missing.name}",
            "Install the extra: pip install 'agent-coordinator[mcp]'.",
        ) from None
    finally:
        gc.freeze()
        gc.enable()


def _on_stdio(options: "AgentOptions") -> None:
    import anyio

    from coordinator.agents.mcp.run import run
    from coordinator.agents.mcp.stdio import serve_stdio

    anyio.run(run, options, serve_stdio)


def _over_http(options: "AgentOptions", http: "HttpOptions", *, as_json: bool) -> None:
    import anyio

    from coordinator.agents.mcp.http import listening, serve_http
    from coordinator.agents.mcp.run import run

    async def serve() -> None:
        async with listening(http) as (sock, url):
            if as_json:
                say(json.dumps({"event": "mcp.listening", "url": url}))
            else:
                note(f"serving MCP at {url}")
            await run(options, lambda server: serve_http(server, http, sock))

    anyio.run(serve)


def _token(file: Path | None, environ: Mapping[str, str]) -> str:
    if file is None:
        token = environ.get(TOKEN_VARIABLE, "")
    else:
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the token cannot be read from {file}", str(error), "Check --token-file."
            ) from None
    if not token.strip():
        raise ConfigError(
            "HTTP clients need a token, and none is set",
            f"neither --token-file nor {TOKEN_VARIABLE} gives one",
            "Make one with: openssl rand -hex 32 > token; chmod 600 token",
        )
    return token.strip()
