"""docs/security.md names tests for what it claims; they are there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(?:([\w/]+\.py)(?:::(test_\w+))?|(test_\w+))`", PAGE)


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(
    ("file", "test"), sorted({(file, test) for file, test, _ in NAMED if file})
)
def test_a_named_file_is_there_with_its_test(file: str, test: str) -> None:
    folders = (TESTS.parent, TESTS, TESTS / "integration")
    found = [folder / file for folder in folders if (folder / file).exists()]

    assert len(found) == 1
    assert f"def {test}" in found[0].read_text()


def test_a_test_named_alone_is_in_a_file_that_the_page_names() -> None:
    files = {file for file, _, _ in NAMED if file}
    texts = [path.read_text() for path in TESTS.rglob("test_*.py") if path.name in str(files)]

    alone = {test for _, _, test in NAMED if test}
    assert {test for test in alone if not any(f"def {test}(" in text for text in texts)} == set()
