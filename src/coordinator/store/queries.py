"""The statements: one .sql file each, under `sql/`, with `:name` for a parameter.

A file's first comment says what the statement does and what "no row" means. The loader numbers the
parameters in the order of their first use and refuses a call with missing or unknown ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement as PostgreSQL takes it (`$1`, `$2` …), and the names of its parameters."""

    name: str
    text: str
    parameters: tuple[str, ...]

    def arguments(self, given: Mapping[str, object]) -> tuple[object, ...]:
        """Return the values in the statement's order; raise TypeError for a wrong set of names."""
        if given.keys() != set(self.parameters):
            raise TypeError(f"{self.name}.sql takes {self.parameters}, not {tuple(given)}")
        return tuple(given[name] for name in self.parameters)


@cache
def query(name: str) -> Query:
    """Load the statement in `sql/<name>.sql`."""
    return parse(name, resources.files(__package__).joinpath("sql", f"{name}.sql").read_text())


def parse(name: str, text: str) -> Query:
    """Number the `:names` of a statement; comments do not count."""
    order: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${order.setdefault(match[1], len(order) + 1)}"

    return Query(name, _PARAMETER.sub(number, _COMMENT.sub("", text)).strip(), tuple(order))


def names() -> list[str]:
    """Return the names of all statements, sorted."""
    folder = resources.files(__package__).joinpath("sql")
    return sorted(file.name.removesuffix(".sql") for file in folder.iterdir())
