"""The other commands as an operator types them: status, agents, schema, configuration."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Ended, data_of, ended
from tests.support.postgres import Connection, Database
from tests.support.processes import running
from tests.support.sdk import desk_at

# Nobody listens on port 1.
NOWHERE = "postgresql://someone:geheim@127.0.0.1:1/nothing"


def _parts(command: Ended) -> list[str]:
    return [line.split(":")[0].strip() for line in command.err.splitlines()]


async def test_the_version_names_schema_and_servers() -> None:
    shown = await ended("--version")
    data = (await ended("--version", "--json")).data

    assert shown.out.startswith("coordinator ")
    assert f"schema {data['schema_version']}" in shown.out
    assert "PostgreSQL 15 to 18" in shown.out
    assert data["servers"] == [15, 16, 17, 18]


async def test_no_command_is_wrong_usage_and_shows_the_help() -> None:
    asked = await ended()

    assert (asked.code, asked.out) == (64, "")
    assert "coordinator demo" in asked.err


async def test_an_unknown_command_is_wrong_usage() -> None:
    asked = await ended("handoffs", "destroy", "--json")

    assert asked.code == 64
    assert asked.error["what"].startswith("No such command 'destroy'.")
    assert asked.error["next"] == "See coordinator handoffs --help."


@pytest.mark.parametrize("command", ["run", "status", "migrate", "doctor"])
async def test_without_a_dsn_the_way_out_is_named(command: str) -> None:
    refused = await ended(command)

    assert (refused.code, refused.out) == (78, "")
    assert _parts(refused) == ["error", "why", "next"]
    assert "DATABASE_URL" in refused.err
    assert "coordinator dev" in refused.err


@pytest.mark.parametrize(
    "arguments", [["status"], ["migrate"], ["doctor"], ["handoffs", "list"], ["events", "-f"]]
)
async def test_an_unreachable_database_is_unavailable(arguments: list[str]) -> None:
    refused = await ended(*arguments, env={"DATABASE_URL": NOWHERE})

    assert (refused.code, refused.out) == (69, "")
    assert _parts(refused) == ["error", "why", "next"]
    assert "geheim" not in refused.err
    assert "Traceback" not in refused.err


async def test_a_database_without_the_schema_is_wrong_configuration(
    fresh_database: Database,
) -> None:
    refused = await ended("status", on=fresh_database)

    assert refused.code == 78
    assert "coordinator migrate" in refused.err


async def test_an_unknown_variable_is_refused_by_name(database: Database) -> None:
    refused = await ended("status", on=database, env={"COORDINATOR_STALE_AFTR": "1m"})

    assert refused.code == 78
    assert "COORDINATOR_STALE_AFTR" in refused.err
    assert "COORDINATOR_STALE_AFTER" in refused.err


async def test_the_dsn_may_come_from_a_file(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text(database.dsn + "\n")

    read = await ended("status", "--dsn-file", str(file), "--json")

    assert read.code == 0


async def test_an_empty_dsn_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.touch()

    refused = await ended("status", "--dsn-file", str(file))

    assert refused.code == 78
    assert "is empty" in refused.err


async def test_migrate_brings_an_empty_database_up_and_doctor_agrees(
    fresh_database: Database,
) -> None:
    planned = await data_of("migrate", "--dry-run", on=fresh_database)
    before = await ended("doctor", "--json", on=fresh_database)
    done = await data_of("migrate", on=fresh_database)
    again = await data_of("migrate", on=fresh_database)
    after = await ended("doctor", "--json", on=fresh_database)

    assert planned["dry_run"] is True
    assert planned["steps"] == done["steps"] != []
    assert {(step["half"], step["deed"]) for step in done["steps"]} == {
        ("coordination", "run"),
        ("business", "skip"),
    }
    assert again["steps"] == []
    assert before.code == 1
    assert (after.code, after.data) == (0, {"findings": []})


async def test_doctor_tells_what_is_wrong_in_three_parts(
    database: Database, connection: Connection
) -> None:
    await data_of("migrate", on=database)
    await connection.execute("alter table handoffs disable trigger handoffs_changed")

    found = await ended("doctor", on=database)

    assert found.code == 1
    assert "handoffs_changed" in found.out
    assert [line.split(":")[0].strip() for line in found.out.splitlines()[:3]] == [
        "error",
        "why",
        "next",
    ]


async def test_status_counts_in_one_read(database: Database, connection: Connection) -> None:
    await connection.execute("select register_agent('ada'), register_agent('grace')")
    await connection.execute("select set_agent_status('grace', 'blocked', null, 'lunch')")
    await connection.execute(
        "insert into handoffs (from_agent, to_agent, task_description, available_at) values"
        " ('me', 'ada', 'x', now()), ('me', 'ada', 'x', now()), ('me', 'nobody', 'x', now()),"
        " ('me', 'ada', 'x', now() + interval '1h')"
    )
    async with desk_at(database) as desk:
        await desk.dispatch("ada")

    status = await data_of("status", on=database)

    assert status["handoffs"] == {
        "due": 2,
        "delayed": 1,
        "dispatched": 1,
        "accepted": 0,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
    }
    assert status["oldest_due_s"] > 0
    assert status["unanswered_addresses"] == ["nobody"]
    assert status["agents"] == {"idle": 0, "working": 1, "blocked": 1}
    assert status["blocked"] == {"stale": 0, "unresponsive": 0, "left": 0, "said": 1}
    assert status["leader"]["led"] is False
    assert status["notification_queue_usage"] == 0


async def test_status_warns_in_words_where_nobody_leads_or_answers(
    database: Database, connection: Connection
) -> None:
    await connection.execute(
        "insert into handoffs (from_agent, to_agent, task_description) values ('me', 'nobody', 'x')"
    )

    status = await ended("status", on=database)

    assert "1 due" in status.out
    assert "warning: no daemon leads" in status.err
    assert "no agent answers to nobody" in status.err


async def test_agents_are_listed_by_name(database: Database, connection: Connection) -> None:
    await connection.execute(
        "select register_agent(n, roles => '{reviewer}') from unnest('{grace,ada}'::text[]) n"
    )

    listed = await data_of("agents", "list", on=database)
    idle = await ended("agents", "list", "--status", "idle", "--limit", "1", on=database)

    assert [agent["agent_name"] for agent in listed["agents"]] == ["ada", "grace"]
    assert idle.out.splitlines()[1].split()[:2] == ["ada", "idle"]
    assert idle.err == "there are more; raise --limit\n"


async def test_an_agent_is_shown_with_what_it_holds(
    database: Database, connection: Connection
) -> None:
    await connection.execute("select register_agent('ada', metadata => '{\"host\": \"x\"}')")
    async with desk_at(database) as desk:
        handoff_id = await desk.give("ada")

    shown = await data_of("agents", "show", "ada", on=database)
    text = await ended("agents", "show", "ada", on=database)

    assert shown["agent"]["metadata"] == {"host": "x"}
    assert shown["handoff"]["id"] == str(handoff_id)
    assert [event["event"] for event in shown["events"]] == ["agent.registered"]
    assert str(handoff_id) in text.out


async def test_an_unknown_agent_is_refused(database: Database) -> None:
    refused = await ended("agents", "show", "nobody", "--json", on=database)

    assert (refused.code, refused.error["code"]) == (65, "ZH003")


async def test_config_tells_each_value_and_where_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text('accept_timeout = "20s"\n')

    shown = await ended(
        *("config", "show", "--origin", "--json", "--config", str(file), "--stale-after", "1m"),
        env={"COORDINATOR_SAFETY_POLL": "2s", "DATABASE_URL": NOWHERE},
    )

    told: dict[str, Any] = {setting["name"]: setting for setting in shown.data["settings"]}
    assert (told["stale_after"]["value"], told["stale_after"]["origin"]) == (
        "1m",
        "flag --stale-after",
    )
    assert told["safety_poll"]["origin"] == "env COORDINATOR_SAFETY_POLL"
    assert told["accept_timeout"]["origin"].endswith("coordinator.toml: accept_timeout")
    assert told["drain_grace"]["origin"] == "default"
    assert "geheim" not in shown.out


async def test_config_that_contradicts_itself_is_refused() -> None:
    refused = await ended("config", "show", "--stale-after", "15s")

    assert refused.code == 78
    assert "at least 3 x heartbeat_interval" in refused.err
    assert "next: " in refused.err


async def test_a_defect_is_told_without_a_traceback_unless_asked(tmp_path: Path) -> None:
    # A broken module of the driver's name stands in for what nobody foresaw.
    (tmp_path / "asyncpg.py").write_text("raise LookupError('unforeseen')")
    env = {"PYTHONPATH": str(tmp_path), "DATABASE_URL": NOWHERE}

    quiet = await ended("status", env=env)
    loud = await ended("status", env={**env, "COORDINATOR_DEBUG": "1"})

    assert (quiet.code, _parts(quiet)) == (70, ["error", "why", "next"])
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err


@pytest.mark.parametrize(
    ("shell", "load"),
    [
        ("bash", ["bash", "--norc", "-c", 'source "$1" && complete -p coordinator', "x"]),
        ("zsh", ["zsh", "-f", "-c", 'autoload -U compinit; compinit -u -D; source "$1"', "x"]),
        ("fish", ["fish", "--no-config", "-c", "source $argv[1]; complete -c coordinator"]),
    ],
)
async def test_completions_load(shell: str, load: list[str], tmp_path: Path) -> None:
    script = await ended("completions", shell)
    assert (script.code, script.err) == (0, "")
    file = tmp_path / "completions"
    file.write_text(script.out)
    if shutil.which(shell) is None:
        assert "_COORDINATOR_COMPLETE" in script.out
        return

    async with running([*load, file]) as loading:
        code = await loading.wait()

        assert (code, loading.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "position", "offered"),
    [
        ("coordinator h", 1, ["handoffs", "health"]),
        ("coordinator handoffs create --idem", 3, ["--idempotency-key"]),
        ("coordinator handoffs list --status p", 4, ["pending"]),
    ],
)
async def test_completions_offer_what_fits(words: str, position: int, offered: list[str]) -> None:
    asked = await ended(
        env={
            "_COORDINATOR_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(position),
        }
    )

    assert [line.partition(",")[2] for line in asked.out.splitlines()] == offered


async def test_an_unknown_shell_is_wrong_usage() -> None:
    asked = await ended("completions", "tcsh")

    assert asked.code == 64
    assert "bash" in asked.err


async def test_json_may_stand_before_the_command(database: Database) -> None:
    listed = await ended("--json", "agents", "list", on=database)

    assert json.loads(listed.out) == {"agents": [], "more": False}
