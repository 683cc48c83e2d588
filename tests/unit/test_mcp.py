"""What the MCP server decides by itself: how long to wait, where to listen, what a client sees."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest

from coordinator.agents.mcp.http import HttpOptions, check, parse_address
from coordinator.agents.mcp.tools import TOOLS
from coordinator.agents.mcp.waiting import ceiling_for
from coordinator.core.errors import ConfigError

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("client", "seconds"),
    [
        ("claude-code", 110),
        ("codex-mcp-client", 280),
        ("gemini-cli-mcp-client", 540),
        ("cursor-vscode", 50),
        (None, 50),
    ],
)
def test_a_wait_is_shorter_than_its_client_allows(client: str | None, seconds: int) -> None:
    assert ceiling_for(client) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8790", ("::1", 8790))],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["8790", "127.0.0.1", "::1:8790", "h:99999", ":1", "h:\u0661"])
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_address(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_machines_reach_it_only_when_that_is_said(host: str) -> None:
    with pytest.raises(ConfigError, match="--expose"):
        check(HttpOptions(host, 1, TOKEN))

    check(HttpOptions(host, 1, TOKEN, expose=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_reaches_it(host: str) -> None:
    check(HttpOptions(host, 1, TOKEN))


@pytest.mark.parametrize("token", ["short", "0123456789abcde\u00e9"])
def test_a_token_that_can_be_guessed_or_sent_by_nobody_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        check(HttpOptions("127.0.0.1", 1, token))


def test_the_token_does_not_show_itself() -> None:
    assert TOKEN not in repr(HttpOptions("127.0.0.1", 1, TOKEN))


@pytest.mark.parametrize("name", TOOLS)
def test_a_tools_schemas_are_objects_that_name_their_fields(name: str) -> None:
    listed = TOOLS[name].listed(name)

    assert listed.input_schema["type"] == "object"
    assert listed.input_schema["additionalProperties"] is False
    assert listed.output_schema
    assert listed.output_schema["type"] == "object"


def test_without_the_extra_it_says_what_to_install() -> None:
    script = (
        "import sys\n"
        "sys.modules['mcp'] = None\n"
        "sys.argv[1:] = ['mcp', '--agent', 'ada', '--json']\n"
        "import coordinator.cli\n"
        "coordinator.cli.main()\n"
    )

    asked = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )

    assert asked.returncode == 78
    assert "pip install 'agent-coordinator[mcp]'" in json.loads(asked.stderr)["error"]["next"]
