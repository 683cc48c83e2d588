"""Every way in which arguments may not fit, made from a tool's input schema."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
Arguments = dict[str, Any]

HALF = "half \ud83d"
"""Ends in half an emoji, as a client in JavaScript cuts it."""
_HUGE = "x" * 1_100_000
_BAD_JSON: Mapping[str, object] = {
    "with a NUL": {"a": "\0"},
    "with a NUL in a name": {"\0": 1},
    "with half a character": {"a": HALF},
    "nested too deep": {"a": json.loads("[" * 150 + "]" * 150)},
    "with a number that is none": {"a": float("nan")},
    "huge": {"a": _HUGE},
}
_FITS_NOWHERE: Mapping[str, object] = {
    "string": 7,
    "integer": "many",
    "number": "much",
    "boolean": "perhaps",
    "array": {"a": 1},
    "object": [1],
}


def bad_arguments(
    schema: Schema, good: Arguments, *, defs: Schema | None = None
) -> Iterator[tuple[str, Arguments]]:
    """Yield what is wrong, and arguments with that; `good` ones fit."""
    defs = defs or schema.get("$defs", {})
    yield "unknown field", {**good, "no_such_field": 1}
    for name in schema.get("required", ()):
        yield f"{name} missing", {key: value for key, value in good.items() if key != name}
    for name, field in schema["properties"].items():
        for what, value in _bad_values(field, defs):
            yield f"{name} {what}", {**good, name: value}


def _bad_values(field: Schema, defs: Schema) -> Iterator[tuple[str, object]]:
    [kind] = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    takes = kind.get("type")
    if takes is not None:
        yield "of a wrong type", _FITS_NOWHERE[takes]
    if takes in {None, "object"}:
        yield from _BAD_JSON.items()
    if takes == "string":
        yield "with a NUL", "a\0b"
        yield "with half a character", HALF
        yield "too long", "x" * (kind["maxLength"] + 1) if "maxLength" in kind else _HUGE
    if kind.get("format") == "uuid":
        yield "that is no id", "the first one"
    if "enum" in kind:
        yield "that is none of them", "something else"
    if kind.get("minLength"):
        yield "empty", ""
    yield from _bad_numbers(kind)
    yield from _bad_items(kind, defs)


def _bad_items(kind: Schema, defs: Schema) -> Iterator[tuple[str, object]]:
    if "maxItems" not in kind:
        return
    yield "too many", [{}] * (kind["maxItems"] + 1)
    inner = defs[kind["items"]["$ref"].rpartition("/")[2]]
    good: Arguments = dict.fromkeys(inner["required"], "text")
    for what, arguments in bad_arguments(inner, good, defs=defs):
        yield f"with {what}", [good, arguments]


def _bad_numbers(kind: Schema) -> Iterator[tuple[str, object]]:
    if kind.get("type") in {"integer", "number"}:
        yield "that is no number", float("nan")
    for limit, beyond in (("minimum", -1), ("exclusiveMinimum", 0)):
        if limit in kind:
            yield "too small", kind[limit] + beyond
    for limit, beyond in (("maximum", 1), ("exclusiveMaximum", 0)):
        if limit in kind:
            yield "too large", kind[limit] + beyond
