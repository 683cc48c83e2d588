"""The manual page: made from the commands, whole, and read by groff without a complaint."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from coordinator.cli.app import coordinator
from coordinator.cli.manual import manual
from coordinator.config import Settings
from coordinator.config.settings import environment_variable
from coordinator.core.errors import ExitCode

PAGE = Path(__file__).parents[2] / "docs" / "coordinator.1"
REQUESTS = {"TH", "SH", "SS", "PP", "TP", "B", "I", "RI", "br", "nf", "fi"}


def test_the_manual_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == manual(), "run: make docs"


def test_every_command_with_every_option_has_its_place() -> None:
    sections = re.findall(r"^\.SS ([^\n]*)\n(.*?)(?=^\.S[SH] )", read(), re.DOTALL | re.MULTILINE)
    root = click.Context(coordinator, info_name="coordinator")
    commands = list(leaves(coordinator, root))

    assert len(sections) == len(commands)
    for (title, section), (path, command) in zip(sections, commands, strict=True):
        assert title.startswith(path)
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert [flag for option in options for flag in option.opts if flag not in section] == []


def test_every_setting_and_every_exit_code_has_its_place() -> None:
    text = read()

    assert [name for name in Settings.model_fields if environment_variable(name) not in text] == []
    codes = set(re.findall(r"^\\fB(\d+)\\fR$", text, re.MULTILINE))
    assert {str(int(code)) for code in ExitCode} <= codes


def test_no_text_can_be_taken_for_a_request() -> None:
    written = manual()
    requests = re.findall(r"^[.'](\S*)", written, re.MULTILINE)

    assert set(requests) <= REQUESTS
    assert written.isascii()


def test_every_hyphen_can_be_copied() -> None:
    assert re.findall(r"(?<!\\)-", manual()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("groff") is None, reason="apt-get install groff-base")
def test_groff_reads_it_without_a_complaint() -> None:
    shown = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", PAGE],
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stderr == ""
    assert "coordinator run --dsn-file /etc/coordinator/dsn" in shown.stdout
    assert "--leader-stale-after" in shown.stdout


def read() -> str:
    """The page with its hyphens as they are typed."""
    return manual().replace("\\-", "-")


def leaves(group: click.Group, parent: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Each command by its path."""
    for name, command in group.commands.items():
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from leaves(command, context)
        else:
            yield context.command_path, command
