"""Migrations only add, unless their name says that they break: docs/operations.md, the upgrade."""

import re
from collections import Counter

import pytest

from coordinator.store.catalog import expected_catalog
from coordinator.store.halves import Half
from coordinator.store.migration_plan import Applied, Migration
from coordinator.store.migrations import migrations

BEFORE_THE_RULE = "20261122190300"
"""The newest migration of the first release; before that nobody had an older one."""
TAKES_AWAY = re.compile(
    r"\bdrop\s+(?!trigger\b|policy\b|index\b)|\brename\b|\bset\s+(?:schema|not\s+null)\b"
    r"|\balter\s+(?:column\s+)?\S+\s+(?:set\s+data\s+)?type\b"
    r"|\brevoke\b[^;]*\bfrom\b[^;]*\bcoordinator_",
    re.IGNORECASE,
)
SAID = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
"""Comments and literals, which do nothing."""


def takes_away(text: str) -> bool:
    """Whether something that older releases may use goes or changes."""
    return TAKES_AWAY.search(SAID.sub("", text)) is not None


def test_what_takes_away_says_so_in_its_name() -> None:
    later = [file for half in Half for file in migrations(half) if file.version > BEFORE_THE_RULE]

    assert [file.file_name for file in later if takes_away(file.text) and not marked(file)] == []


@pytest.mark.parametrize(
    "text",
    [
        "alter table public.handoffs drop column colour;",
        "alter table public.handoffs drop if exists colour;",
        "drop function public.heartbeat(text);",
        "drop domain public.colour;",
        "alter table public.handoffs drop constraint context_must_be_a_json_object;",
        "alter table public.handoffs alter hop drop default;",
        "alter table public.handoffs rename column hop to hops;",
        "alter table public.handoffs rename hop to hops;",
        "alter table public.handoffs set schema elsewhere;",
        'alter table public.handoffs alter column "hop" type bigint;',
        "alter table public.handoffs alter hop set data type bigint;",
        "alter table public.handoffs alter hop set not null;",
        "revoke select on public.handoffs from coordinator_plain_agent;",
    ],
)
def test_what_takes_away_is_seen(text: str) -> None:
    assert takes_away(text)


@pytest.mark.parametrize(
    "text",
    [
        "alter table public.handoffs add column colour text not null default 'red';",
        "create or replace function public.heartbeat(agent text) returns jsonb",
        "-- Nobody may drop column colour.",
        "/* Nobody may\ndrop column colour. */",
        "comment on table public.handoffs is 'Never drop table handoffs; it''s a queue.';",
        "drop trigger handoffs_queued on public.handoffs;",
        "revoke all on coordination.forecasts from public;",
    ],
)
def test_what_adds_is_let_through(text: str) -> None:
    assert not takes_away(text)


@pytest.mark.parametrize("half", Half)
def test_no_function_has_two_signatures(half: Half) -> None:
    """An old call that leaves out an argument could mean either."""
    found = [one.name for one in expected_catalog(half).objects if one.kind == "function"]
    names = Counter(name.partition("(")[0] for name in found)

    assert len(names) > 5
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("name", "breaking"),
    [
        ("breaking_drop_colour", True),
        ("business_breaking_drop_colour", True),
        ("add_colour", False),
        ("colour_breaking_point", False),
        ("business_tables", False),
    ],
)
def test_the_mark_is_how_the_name_begins(name: str, *, breaking: bool) -> None:
    assert Applied("20990101000000", name, "").is_breaking is breaking


def marked(file: Migration) -> bool:
    """Whether it is marked, as a database that has had it would tell."""
    return Applied(file.version, file.name, file.checksum).is_breaking
