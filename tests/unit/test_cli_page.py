"""The commands as a whole: their reference page, and what asking for help costs."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from coordinator.cli.app import coordinator
from coordinator.cli.page import page

_HEAVY = ("aiohttp", "anyio", "asyncpg", "pydantic", "structlog", "uvloop", "h11")


def test_the_reference_page_is_up_to_date() -> None:
    written = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")

    assert written == page(), "run: python -m coordinator.cli.page > docs/cli.md"


@pytest.mark.parametrize("arguments", [["--help"], ["handoffs", "create", "--help"], ["nosuch"]])
def test_help_and_mistakes_load_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print([m for m in {_HEAVY} if m in sys.modules]))\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "import coordinator.cli\n"
        "coordinator.cli.main()\n"
    )

    asked = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )

    assert asked.stdout.splitlines()[-1] == "[]", asked.stderr


def _leaves(command: click.Command, *path: str) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    return [
        leaf for name, inner in command.commands.items() for leaf in _leaves(inner, *path, name)
    ]


def test_every_command_takes_json() -> None:
    without = [
        " ".join(path)
        for path, command in _leaves(coordinator)
        if not any("--json" in parameter.opts for parameter in command.params)
    ]

    # What they print is for a model's client and for a shell, in the form that those want.
    assert without == ["agent hook", "completions"]


def test_every_command_says_what_it_does() -> None:
    assert [path for path, command in _leaves(coordinator) if not command.help] == []


def test_no_command_takes_a_dsn_as_an_argument() -> None:
    flags = [
        flag
        for _, command in _leaves(coordinator)
        for parameter in command.get_params(click.Context(command))
        for flag in parameter.opts
    ]

    assert "--dsn" not in flags
    assert "--dsn-file" in flags
