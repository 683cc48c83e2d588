"""What the MCP server answers to a message that its parser does not take."""

import pytest

from coordinator.agents.mcp.nesting import DEEPEST, is_too_deep
from coordinator.agents.mcp.unreadable import complaint, request_id

_HALF = '"half \\ud83d"'


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"jsonrpc":"2.0","id":7,"method":"ping"}', 7),
        ('{"method":"m","params":{"id":1,"text":"\\"id\\":2"},"jsonrpc":"2.0","id":"a-3"}', "a-3"),
        (f'{{"params":{{"a":[{{"id":1}}],"t":{_HALF}}},"id" : 8 }}', 8),
        ('{"params":' + "[" * 100_000 + "]" * 100_000 + ',"id":9}', 9),
        ('{"id":1.5}', None),
        ('{"id":null}', None),
        (f'{{"id":{_HALF}}}', None),
        ('{"params":{"id":1}}', None),
        ('[{"id":1}]', None),
        ("hello", None),
        ('{"id":1', None),
    ],
)
def test_the_id_is_found_at_the_top_of_what_is_no_json(line: str, found: str | int | None) -> None:
    assert request_id(line) == found


@pytest.mark.parametrize(
    "line",
    [
        "",
        "  ",
        '{"jsonrpc":"2.0","id":7,"method":"ping"}',
        '{"jsonrpc":"2.0","method":"notifications/initialized"}',
        '{"jsonrpc":"2.0","id":7,"result":{}}',
    ],
)
def test_what_can_be_read_is_no_reason_to_complain(line: str) -> None:
    assert complaint(line) is None


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        (_HALF, "hex escape"),
        ("9" * 5000, "out of range"),
        ("[" * 300 + "]" * 300, "recursion limit"),
    ],
)
def test_whoever_asked_what_cannot_be_read_is_told_why_and_what_to_do(
    argument: str, why: str
) -> None:
    told = complaint(
        f'{{"jsonrpc":"2.0","method":"tools/call","params":{{"a":{argument}}},"id":4}}'
    )

    assert told
    assert told.id == 4
    assert why in told.error.data["error"]["why"]
    assert "call again" in told.error.message
    assert told.error.data["error"]["next"] in told.error.message


@pytest.mark.parametrize(("depth", "too_deep"), [(DEEPEST, False), (DEEPEST + 1, True)])
def test_a_hundred_is_the_deepest(depth: int, too_deep: bool) -> None:
    value: object = "text"
    for level in range(depth):
        value = [value, 1] if level % 2 else {"a": value}

    assert is_too_deep(value) is too_deep
