"""Mutation: with each trigger, index, `skip locked` and token comparison broken, a test fails.

Each wound is given to a pytest of its own, which must report a failure: an error does not count.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.schema.mutation import VARIABLE
from tests.integration.schema.test_tables import TABLES
from tests.integration.schema.world import World
from tests.integration.schema.wounds import POLICIES, TOKENS, TRIGGERS, Wound, wounds

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WOUNDS = dict(wounds())
TOKEN = re.compile(r"\S+ is (?:not )?distinct from (?!old)\w+\.incarnation")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", WOUNDS)
def test_a_wound_is_felt(name: str, tmp_path: Path) -> None:
    wound = WOUNDS[name]
    wound.mutation.write(tmp_path / "mutation.json")

    summary = run(wound, tmp_path / "mutation.json")

    assert re.search(r"^\d+ failed", summary, re.MULTILINE), summary
    assert " error" not in summary.splitlines()[-1], summary


def run(wound: Wound, mutation: Path) -> str:
    """Run the named test under a wound and return what pytest tells."""
    file, test = wound.test.split("::")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
    which = ["-k", wound.which] if wound.which else []
    done = subprocess.run(
        [*command, *which, f"{HERE / f'test_{file}.py'}::test_{test}"],
        cwd=ROOT,
        env=os.environ | {VARIABLE: str(mutation)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done.stdout.strip() or done.stderr


async def test_every_trigger_is_wounded(world: World) -> None:
    rows = await world.rows(
        "select tgname from pg_trigger where tgrelid = any ($1::text[]::regclass[])"
        " and not tgisinternal",
        list(TABLES),
    )

    assert {row[0] for row in rows} == TRIGGERS.keys()


async def test_every_comparison_of_a_token_is_wounded(world: World) -> None:
    rows = await world.rows(
        "select p.oid::regproc::text, p.prosrc from pg_proc p"
        " where p.pronamespace in ('public'::regnamespace, 'coordination'::regnamespace)"
    )
    compared = {
        (function.removeprefix("public."), text)
        for function, source in rows
        for text in TOKEN.findall(source)
    }

    listed = {(function.removeprefix("public."), text) for function, text in TOKENS}
    assert {pair for pair in compared if not any(is_in(pair, other) for other in listed)} == set()


async def test_every_policy_that_looks_at_the_login_is_wounded(world: World) -> None:
    rows = await world.rows(
        "select tablename, policyname from pg_policies where concat(qual, with_check) ~ 'binding'"
    )

    assert {tuple(row) for row in rows} == POLICIES.keys()


def is_in(pair: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether a comparison is (part of) a listed one."""
    return pair[0] == other[0] and pair[1] in other[1]


@pytest.mark.parametrize("name", WOUNDS)
def test_the_test_of_a_wound_exists(name: str) -> None:
    file, test = WOUNDS[name].test.split("::")

    assert f"def test_{test}(" in (HERE / f"test_{file}.py").read_text()
