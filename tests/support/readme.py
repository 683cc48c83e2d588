"""The README's sections and the commands in them, for tests that do what it says."""

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def blocks(title: str, language: str) -> list[str]:
    """The blocks of a language below a heading."""
    return re.findall(rf"^```{language}\n(.*?)^```", section(title), re.M | re.S)
