"""What PostgreSQL keeps in no text is told from what only looks like it."""

import json

import pytest

from coordinator.core.nul import holds_nul


@pytest.mark.parametrize("value", ["\0", "a\0b", {"\0": 1}, ["x", {"deep": "\\\0"}]])
def test_a_nul_is_found_wherever_it_stands(value: object) -> None:
    assert holds_nul(json.dumps(value))


@pytest.mark.parametrize("value", ["", "\\u0000", r"a\\u0000", {r"\u0000": r"the escape \u0000"}])
def test_a_backslash_before_u0000_is_none(value: object) -> None:
    assert not holds_nul(json.dumps(value))
