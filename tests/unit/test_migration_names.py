"""Migrations only add, unless their name says that they break: docs/operations.md, the upgrade."""

import re

import pytest

from coordinator.store.halves import Half
from coordinator.store.migration_plan import Applied, Migration
from coordinator.store.migrations import migrations

BEFORE_THE_RULE = "20261122190300"
"""The newest migration of the first release; before that nobody had an older one."""
TAKES_AWAY = re.compile(
    r"\b(?:drop\s+(?:column|table|function|view|type|schema|sequence)|rename\s+(?:to|column)"
    r"|alter\s+(?:column\s+)?\w+\s+(?:set\s+not\s+null|(?:set\s+data\s+)?type\b))",
    re.IGNORECASE,
)
COMMENT = re.compile(r"--.*$", re.MULTILINE)


def takes_away(text: str) -> bool:
    """Whether something that older releases may use goes or changes, outside comments."""
    return TAKES_AWAY.search(COMMENT.sub("", text)) is not None


def test_what_takes_away_says_so_in_its_name() -> None:
    later = [file for half in Half for file in migrations(half) if file.version > BEFORE_THE_RULE]

    assert [file.file_name for file in later if takes_away(file.text) and not marked(file)] == []


@pytest.mark.parametrize(
    "text",
    [
        "alter table public.handoffs drop column colour;",
        "drop function public.heartbeat(text);",
        "alter table public.handoffs rename column hop to hops;",
        "alter table public.handoffs alter column hop type bigint;",
        "alter table public.handoffs alter hop set not null;",
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
        "drop trigger handoffs_queued on public.handoffs;",
    ],
)
def test_what_adds_is_let_through(text: str) -> None:
    assert not takes_away(text)


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
