"""The blocks of docs/agents.md that a reader copies, for tests that do what it says."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()


def block(heading: str, language: str, *, about: str) -> str:
    """Return the first block of a language that holds `about`, below a heading of these words."""
    for level, text in re.findall(r"^(#+) (.*)$", PAGE, re.MULTILINE):
        if heading not in text:
            continue
        for found in _blocks(_below(level, text), language):
            if about in found:
                return found
    raise AssertionError(f"docs/agents.md has no {language} with {about} below {heading!r}")


def _below(level: str, text: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    after = PAGE.partition(f"{level} {text}\n")[2]
    return re.split(rf"^#{{1,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
