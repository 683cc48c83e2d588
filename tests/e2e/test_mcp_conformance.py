"""The MCP server before the suites of the protocol's authors, over HTTP, in each protocol.

Most scenarios ask for tools, resources and prompts that only a server made for the suite has. Which
of them we answer to is said here, and why not; one that a later version adds must be decided on.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.clients import CONFORMANCE_NEXT, client_ended, installed
from tests.support.mcp import TOKEN, http_server
from tests.support.postgres import Cluster, Database
from tests.support.token_door import token_door

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.clients]

NOW, NEXT = "0.1.16", "0.2.0-alpha.12"
APPLY = {
    "caching",
    "dns-rebinding-protection",
    "http-header-validation",
    "input-required-result-unsupported-methods",
    "ping",
    "prompts-list",
    "resources-list",
    "resources-subscribe",
    "resources-unsubscribe",
    "sep-2164-resource-not-found",
    "server-initialize",
    "server-session-lifecycle",
    "server-sse-multiple-streams",
    "server-stateless",
    "tools-list",
}
DO_NOT_APPLY: Mapping[str, set[str]] = {
    "they call a tool of the suite's own server": {
        "elicitation-sep1034-defaults",
        "elicitation-sep1330-enums",
        "json-schema-2020-12",
        "server-sse-polling",
        "tools-call-audio",
        "tools-call-elicitation",
        "tools-call-embedded-resource",
        "tools-call-error",
        "tools-call-image",
        "tools-call-mixed-content",
        "tools-call-sampling",
        "tools-call-simple-text",
        "tools-call-with-logging",
        "tools-call-with-progress",
    },
    "they read a resource, or get a prompt, of the suite's own server": {
        "prompts-get-embedded-resource",
        "prompts-get-simple",
        "prompts-get-with-args",
        "prompts-get-with-image",
        "resources-read-binary",
        "resources-read-text",
        "resources-templates-read",
    },
    "their tools and prompts ask the client something, and ours never do": {
        "input-required-result-basic-elicitation",
        "input-required-result-basic-list-roots",
        "input-required-result-basic-sampling",
        "input-required-result-capability-check",
        "input-required-result-ignore-extra-params",
        "input-required-result-missing-input-response",
        "input-required-result-multi-round",
        "input-required-result-multiple-input-requests",
        "input-required-result-non-tool-request",
        "input-required-result-request-state",
        "input-required-result-result-type",
        "input-required-result-tampered-state",
        "input-required-result-validate-input",
    },
    "we do not have what they test, and do not say that we have": {
        "completion-complete",
        "http-custom-header-server-validation",
        "logging-set-level",
        "sep-2640-skills-directory",
        "sep-2640-skills-enumeration",
        "sep-2640-skills-manifest",
        "tasks-capability-negotiation",
        "tasks-dispatch-and-envelope",
        "tasks-lifecycle",
        "tasks-mrtr-composition",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-request-state-removal",
        "tasks-required-task-error",
        "tasks-status-notifications",
        "tasks-wire-fields",
    },
}
NEED_A_TOOL_OF_THE_SUITE = {
    "sep-2575-http-server-no-independent-requests-on-stream",
    "sep-2575-missing-capability-http-400",
    "sep-2575-server-no-log-without-loglevel",
    "sep-2575-server-rejects-undeclared-capability",
}
"""Checks inside a scenario that applies; the suite itself calls them not testable."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    async with cluster.database() as database:
        yield database


async def test_every_scenario_of_the_suites_has_been_decided_on(tmp_path: Path) -> None:
    listed = await _listed(NOW, tmp_path) | await _listed(NEXT, tmp_path)

    do_not_apply = set().union(*DO_NOT_APPLY.values())
    assert not APPLY & do_not_apply
    assert listed == APPLY | do_not_apply


@pytest.mark.parametrize(
    ("suite", "protocol"), [(NOW, "2025-11-25"), (NEXT, "2025-11-25"), (NEXT, "2026-07-28")]
)
async def test_each_scenario_that_applies_passes(
    database: Database, tmp_path: Path, suite: str, protocol: str
) -> None:
    listed = await _listed(suite, tmp_path, "--spec-version", protocol)
    async with (
        token_door(TOKEN) as door,
        http_server(database, "ada", "--allow-host", door.address) as (_, door.leads_to),
    ):
        found = await _tried(suite, door.url, protocol, tmp_path)

    assert set(found) == listed
    for scenario in APPLY & listed:
        checks = found[scenario]
        assert "SUCCESS" in {check["status"] for check in checks}, scenario
        assert [check for check in checks if _has_failed(check)] == [], scenario


def _has_failed(check: Mapping[str, Any]) -> bool:
    untestable = str(check.get("errorMessage")).startswith("Not testable")
    forgiven = untestable and check["id"] in NEED_A_TOOL_OF_THE_SUITE
    return bool(check["status"] == "FAILURE") and not forgiven


async def _tried(
    suite: str, url: str, protocol: str, home: Path
) -> dict[str, list[dict[str, Any]]]:
    """Run all scenarios of a protocol; return what each checked, by the scenario's name."""
    results = home / "results"
    chosen = ("--suite", "all", "--spec-version", protocol, "--output-dir", results)
    # Its exit code counts the scenarios that do not apply.
    await client_ended(*_program(suite), "server", "--url", url, *chosen, home=home)
    return {
        re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", file.parent.name): json.loads(file.read_text())
        for file in results.glob("*/checks.json")
    }


async def _listed(suite: str, home: Path, *options: str) -> set[str]:
    """The names of the suite's scenarios for a server."""
    command = await client_ended(*_program(suite), "list", "--server", *options, home=home)
    assert command.code == 0, command
    return set(re.findall(r"^  - (\S+) \[", command.out, re.MULTILINE))


def _program(suite: str) -> list[str | Path]:
    now = installed("conformance")
    return [now] if suite == NOW else ["node", CONFORMANCE_NEXT]
