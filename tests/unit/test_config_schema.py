"""The JSON schema of the configuration accepts what the settings accept, and nothing besides."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.config import Settings
from coordinator.config.durations import duration
from coordinator.config.schema import schema, text
from coordinator.core.errors import ConfigError
from tests.support.commands import ended

PAGE = Path(__file__).parents[2] / "docs" / "configuration.schema.json"
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
}
SCHEMA = schema()


def test_the_exported_schema_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")

    assert written == text(), "run: make docs"


async def test_the_command_prints_it() -> None:
    printed = await ended("config", "schema")

    assert (printed.code, printed.err) == (0, "")
    assert printed.data == SCHEMA


def test_every_setting_is_described_with_its_default_and_no_other_key_is_allowed() -> None:
    described = {setting.name: setting for setting in Settings().describe()}

    assert set(SCHEMA["properties"]) == {*described, "dsn_file"}
    assert SCHEMA["additionalProperties"] is False
    for name, setting in described.items():
        told = SCHEMA["properties"][name]
        assert told["description"] == setting.meaning
        default = told.get("default", "")
        assert (default if isinstance(default, str) else json.dumps(default)) == setting.value


ACCEPTED = [
    "",
    'dsn = "postgresql://me@here/db"',
    'heartbeat_interval = "10s"\nstale_after = "1m30s"',
    "heartbeat_interval = 10\nstale_after = 45.5",
    'safety_poll = "PT5S"',
    'safety_poll = "250ms"',
    'safety_poll = "7"',
    "safety_poll = 0.01",
    "safety_poll = 604800",
    "dispatch_batch = 1",
    "dispatch_batch = 10000",
    'health_tcp = "off"',
    'health_tcp = "[::1]:8787"',
    'health_tcp = "0.0.0.0:0"',
    'health_tcp = "localhost:65535"',
    'health_socket = "/run/coordinator/health.sock"',
    'log_format = "json"',
    'log_level = "debug"',
    "log_content = true",
]
REFUSED = [
    'stale_aftr = "1m"',
    'DSN = "postgresql://me@here/db"',
    'safety_poll = "soon"',
    'safety_poll = "-5s"',
    'safety_poll = "5 s"',
    'safety_poll = ""',
    'safety_poll = "PT"',
    "safety_poll = 0.009",
    "safety_poll = 604801",
    "safety_poll = true",
    'safety_poll = ["5s"]',
    "dispatch_batch = 0",
    "dispatch_batch = 10001",
    "dispatch_batch = 1.5",
    'health_tcp = "nowhere"',
    'health_tcp = ":8787"',
    'health_tcp = "here:65536"',
    "health_tcp = 8787",
    "health_socket = 1",
    'log_format = "xml"',
    'log_level = "loud"',
    'log_content = "perhaps"',
    "[dsn]",
]


@pytest.mark.parametrize("content", ACCEPTED)
def test_what_it_accepts_the_settings_accept(content: str, tmp_path: Path) -> None:
    assert faults(tomllib.loads(content), SCHEMA) == []
    assert loads(content, tmp_path)


@pytest.mark.parametrize("content", REFUSED)
def test_what_it_refuses_the_settings_refuse(content: str, tmp_path: Path) -> None:
    assert faults(tomllib.loads(content), SCHEMA) != []
    assert not loads(content, tmp_path)


def test_a_dsn_file_is_accepted_but_not_beside_a_dsn(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://me@here/db")
    one = 'dsn_file = "dsn"\n'
    both = one + 'dsn = "postgresql://me@here/db"\n'

    assert faults(tomllib.loads(one), SCHEMA) == []
    assert loads(one, tmp_path)
    assert faults(tomllib.loads(both), SCHEMA) != []
    assert not loads(both, tmp_path)


@given(
    st.one_of(
        st.text(alphabet="PT0123456789.dhms -", max_size=10),
        st.from_regex(r"\A ?[0-9]+(ms|[smhd])[0-9]?\Z"),
    )
)
def test_a_duration_it_accepts_is_one_that_is_read(written: str) -> None:
    accepted = not faults({"safety_poll": written}, SCHEMA)

    assert accepted == is_read(written)


def is_read(written: str) -> bool:
    """Whether the settings read this as a duration, however long."""
    try:
        duration(written)
    except ValueError as error:
        return "too long" in str(error)
    return True


def loads(content: str, directory: Path) -> bool:
    """Whether the settings accept this file."""
    file = directory / "coordinator.toml"
    file.write_text(content)
    try:
        Settings.load({}, file=file)
    except ConfigError:
        return False
    return True


def faults(value: object, rule: Mapping[str, Any]) -> list[str]:
    """What a JSON schema finds wrong, in so far as ours needs the language."""
    unknown = set(rule) - set(CHECKS) - REFUSE_NOTHING
    assert not unknown, f"this test does not know {unknown}"
    return [
        f"{keyword}: {value!r}"
        for keyword, check in CHECKS.items()
        if keyword in rule and not check(value, rule[keyword], rule)
    ]


def _is_of_type(value: object, wanted: str) -> bool:
    return isinstance(value, TYPES[wanted]) and (wanted == "boolean") >= isinstance(value, bool)


def _properties_fit(value: object, rules: Mapping[str, Any]) -> bool:
    inner = value.items() if isinstance(value, dict) else ()
    return not any(faults(one, rules[key]) for key, one in inner if key in rules)


REFUSE_NOTHING = {"$schema", "$defs", "title", "description", "default", "format", "writeOnly"}
CHECKS: Mapping[str, Callable[[Any, Any, Mapping[str, Any]], bool]] = {
    "$ref": lambda value, name, _: not faults(value, SCHEMA["$defs"][Path(name).name]),
    "type": lambda value, name, _: _is_of_type(value, name),
    "enum": lambda value, allowed, _: value in allowed,
    "pattern": lambda value, pattern, _: (
        not isinstance(value, str) or bool(re.search(pattern, value))
    ),
    "minimum": lambda value, least, _: not _is_of_type(value, "number") or value >= least,
    "maximum": lambda value, most, _: not _is_of_type(value, "number") or value <= most,
    "anyOf": lambda value, rules, _: any(not faults(value, rule) for rule in rules),
    "not": lambda value, rule, _: bool(faults(value, rule)),
    "required": lambda value, keys, _: isinstance(value, dict) and set(keys) <= set(value),
    "properties": lambda value, rules, _: _properties_fit(value, rules),
    "additionalProperties": lambda value, allowed, rule: (
        allowed or set(value) <= set(rule["properties"])
    ),
}
