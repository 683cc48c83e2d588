"""How each client is started by default: with our tools, and in a thread that it has had."""

import json
import tomllib

import pytest

from coordinator.agents.runner.profiles import PROFILES, Tools
from coordinator.agents.runner.threads import Threads
from tests.unit.test_runner_given import handoff

ODD = """a "quoted" path/with 'both', a \\ and ümläuts"""
TOOLS = Tools((ODD, "-m", "coordinator", "mcp"), {"COORDINATOR_SOCKET": ODD})


def test_claude_is_given_the_server_and_may_use_its_tools() -> None:
    command = PROFILES["claude"].command(TOOLS, None)
    server = json.loads(command[command.index("--mcp-config") + 1])["mcpServers"]["coordinator"]

    assert server == {
        "command": ODD,
        "args": ["-m", "coordinator", "mcp"],
        "env": {"COORDINATOR_SOCKET": ODD},
        "alwaysLoad": True,
    }
    assert command[command.index("--allowedTools") + 1] == "mcp__coordinator"
    assert command[-2] == "--output-format"  # an option that takes any number is not the last


def test_codex_is_given_the_server_in_toml_and_waits_for_it() -> None:
    command = PROFILES["codex"].command(TOOLS, None)
    told = [command[n + 1] for n, part in enumerate(command) if part == "-c"]
    server = tomllib.loads("\n".join(told))["mcp_servers"]["coordinator"]

    assert server == {
        "command": ODD,
        "args": ["-m", "coordinator", "mcp"],
        "env": {"COORDINATOR_SOCKET": ODD},
        "required": True,
    }
    assert command[-1] == "-"


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("claude", ["--resume", "t-1"]),
        ("codex", ["resume", "t-1"]),
        ("gemini", ["--resume", "t-1"]),
    ],
)
def test_each_goes_on_in_a_thread(profile: str, words: list[str]) -> None:
    command = list(PROFILES[profile].command(TOOLS, "t-1"))
    at = command.index(words[0])

    assert command[at : at + 2] == words
    assert words[0] not in PROFILES[profile].command(TOOLS, None)


def test_a_thread_is_kept_for_a_chain_until_it_is_forgotten() -> None:
    threads, first = Threads(), handoff()
    threads.note(first, "t-1")
    assert threads.of(handoff(hop=2)) == "t-1"
    assert threads.of(handoff(root_id=first.id)) is None

    threads.note(first, None)
    assert threads.of(first) is None


def test_the_oldest_threads_are_forgotten() -> None:
    threads = Threads()
    roots = [f"11111111-2222-4333-8444-{number:012}" for number in range(1001)]
    for root in roots:
        threads.note(handoff(root_id=root), "t")

    assert [threads.of(handoff(root_id=root)) for root in (roots[0], roots[1])] == [None, "t"]
