"""`coordinator handoffs` as an operator types it, on a real database."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.commands import data_of, ended
from tests.support.postgres import Connection, Database
from tests.support.processes import coordinator
from tests.support.sdk import desk_at

CREATE = ("handoffs", "create", "--from", "me", "--to", "ada", "--task", "review a.py")


async def _count(connection: Connection) -> int:
    count: int = await connection.fetchval("select count(*) from handoffs")
    return count


async def test_create_prints_the_id_and_nothing_else(
    database: Database, connection: Connection
) -> None:
    await connection.execute("select register_agent('ada')")

    created = await ended(*CREATE, on=database)

    assert (created.code, created.err) == (0, "")
    assert await connection.fetchval("select id from handoffs") == UUID(created.out.strip())


async def test_create_writes_every_field(
    database: Database, connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "context.json").write_text('{"files": ["a.py"]}')
    parent = await data_of(*CREATE, on=database)

    created = await ended(
        *CREATE,
        *("--context", "@context.json", "--priority", "-7", "--delay", "1h", "--deadline", "2h"),
        *("--timeout", "90", "--max-attempts", "5", "--idempotency-key", "k"),
        *("--parent", parent["handoff_id"]),
        "--json",
        on=database,
        cwd=tmp_path,
    )

    row = created.data["handoff"]
    assert row["context"] == {"files": ["a.py"]}
    assert (row["priority"], row["timeout_s"], row["max_attempts"]) == (-7, 90.0, 5)
    assert (row["idempotency_key"], row["hop"], row["due"]) == ("k", 1, False)
    assert await connection.fetchval(
        "select available_at = created_at + interval '1h' and deadline_at = created_at"
        " + interval '2h' from handoffs where id = $1",
        UUID(row["id"]),
    )


async def test_create_warns_where_nobody_answers(database: Database) -> None:
    created = await ended(*CREATE, on=database)

    assert created.code == 0
    assert created.err.startswith("warning: no agent answers to ada yet")


async def test_the_same_key_is_the_same_handoff(database: Database, connection: Connection) -> None:
    first = await data_of(*CREATE, "--idempotency-key", "k", on=database)

    again = await ended(*CREATE, "--idempotency-key", "k", "--json", on=database)

    assert again.data["handoff_id"] == first["handoff_id"]
    assert (first["repeated"], again.data["repeated"]) == (False, True)
    assert "has its handoff already" in again.err
    assert await _count(connection) == 1


async def test_the_same_key_for_other_work_is_refused(
    database: Database, connection: Connection
) -> None:
    await data_of(*CREATE, "--idempotency-key", "k", on=database)

    refused = await ended(
        *CREATE[:-1], "other work", "--idempotency-key", "k", "--json", on=database
    )

    assert refused.code == 65
    assert refused.error["code"] == "ZH009"
    assert "HINT" not in refused.error["what"]
    assert await _count(connection) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--context", "{"], "--context"),
        (["--context", "[1]"], "--context"),
        (["--context", "@no-such-file"], "--context"),
        (["--delay", "-1s"], "--delay"),
        (["--timeout", "0"], "--timeout"),
        (["--deadline", "tomorrow"], "--deadline"),
        (["--max-attempts", "0"], "--max-attempts"),
        (["--max-attempts", "-1"], "--max-attempts"),
        (["--priority", "3000000000"], "--priority"),
        (["--parent", "12"], "--parent"),
        (["--wait", "-1"], "--wait"),
        (["--colour", "red"], "--colour"),
    ],
)
async def test_a_value_of_no_use_is_refused_by_name(
    database: Database, connection: Connection, arguments: list[str], named: str
) -> None:
    refused = await ended(*CREATE, *arguments, on=database)

    assert refused.code == 64
    assert refused.out == ""
    assert named in refused.err
    assert "next: " in refused.err
    assert "Traceback" not in refused.err
    assert await _count(connection) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--to", "a\nb"], "to agent must be"),
        (["--to", "x" * 129], "to agent must be"),
        (["--from", ""], "from agent must be"),
        (["--task", " "], "task description must not be blank"),
        (["--context", json.dumps({"large": "x" * 2_000_000})], "context is"),
        (["--context", '{"nul": "\\u0000"}'], "Unicode"),
        (["--idempotency-key", ""], "idempotency key must be"),
        (["--parent", str(UUID(int=0))], "parent_id"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_what_the_rules_forbid_is_refused_by_name(
    database: Database,
    connection: Connection,
    tmp_path: Path,
    arguments: list[str],
    named: str,
) -> None:
    option, value = arguments
    if len(value) > 100_000:  # longer than one argument may be
        (tmp_path / "context.json").write_text(value)
        value = f"@{tmp_path / 'context.json'}"

    refused = await ended(*CREATE, option, value, on=database)

    assert refused.code == 65
    assert refused.out == ""
    assert named in refused.err
    assert "next: " in refused.err
    assert "DETAIL" not in refused.err
    assert await _count(connection) == 0


@pytest.mark.parametrize(
    ("settlement", "exit_code", "outcome"),
    [
        ("complete_handoff(id, attempt, 'ada', null, '{\"ok\": true}')", 0, "succeeded"),
        ("fail_handoff(id, attempt, 'ada', null, 'no disk', false)", 1, "failed"),
    ],
)
async def test_waiting_ends_with_the_end(
    database: Database, connection: Connection, settlement: str, exit_code: int, outcome: str
) -> None:
    await connection.execute("select register_agent('ada')")
    env = {"DATABASE_URL": database.dsn}
    async with (
        desk_at(database) as desk,
        coordinator(*CREATE, "--wait", "30", "--json", env=env) as waiting,
    ):
        await desk.dispatch("ada")
        await connection.execute(f"select {settlement} from handoffs")
        code = await waiting.wait()

        told = json.loads(waiting.stdout)

    assert code == exit_code
    assert told["handoff"]["outcome"] == outcome


async def test_waiting_has_a_limit(database: Database, connection: Connection) -> None:
    waited = await ended(*CREATE, "--wait", "0.1", on=database)

    assert waited.code == 75
    assert waited.out.splitlines()[0] == str(await connection.fetchval("select id from handoffs"))
    assert "has not ended yet" in waited.err


async def test_waiting_for_ever_is_refused(database: Database, connection: Connection) -> None:
    await connection.execute("select register_agent('ada'), register_agent('grace')")
    async with desk_at(database) as desk:
        await desk.give("ada", from_agent="grace")
        await connection.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " values ('ada', 'grace', 'help')"
        )
        await desk.dispatch("grace")

    refused = await ended(
        "handoffs", "create", "--from", "grace", "--to", "ada", "--task", "x", "--wait", "9",
        "--json",
        on=database,
    )  # fmt: skip

    assert (refused.code, refused.error["code"]) == (65, "ZH010")
    assert await _count(connection) == 2


async def test_list_shows_the_newest_first_and_says_that_there_are_more(
    database: Database, connection: Connection
) -> None:
    await connection.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'me', 'ada', 'task ' || n from generate_series(1, 3) n"
    )

    listed = await data_of("handoffs", "list", "--limit", "2", on=database)

    assert [row["task_description"] for row in listed["handoffs"]] == ["task 3", "task 2"]
    assert listed["more"] is True


async def test_list_filters(database: Database, connection: Connection) -> None:
    await connection.execute(
        "insert into handoffs (from_agent, to_agent, task_description) values"
        " ('me', 'ada', 'a'), ('me', 'grace', 'b'), ('you', 'ada', 'c')"
    )
    await connection.execute("select cancel_handoff(id) from handoffs where task_description = 'c'")

    async def tasks(*filters: str) -> list[str]:
        listed = await data_of("handoffs", "list", *filters, on=database)
        return [row["task_description"] for row in listed["handoffs"]]

    assert await tasks("--to", "ada") == ["c", "a"]
    assert await tasks("--from", "me", "--to", "ada") == ["a"]
    assert await tasks("--status", "pending") == ["b", "a"]
    assert await tasks("--outcome", "cancelled") == ["c"]


async def test_list_is_a_table_with_its_words_apart(
    database: Database, connection: Connection
) -> None:
    await connection.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " values ('me', 'ada', e'two\nlines \x1b[2J')"
    )

    listed = await ended("handoffs", "list", on=database)

    head, row = listed.out.splitlines()
    assert head.split() == ["ID", "FROM", "TO", "STATE", "ATTEMPT", "AGENT", "AGE", "TASK"]
    assert row.endswith("two\\nlines \\x1b[2J")
    assert listed.err == "1 handoff\n"


async def test_show_tells_the_row_its_transitions_and_its_tree(
    database: Database, connection: Connection
) -> None:
    root = await data_of(*CREATE, on=database)
    child = await data_of(*CREATE, "--parent", root["handoff_id"], on=database)

    shown = await data_of("handoffs", "show", child["handoff_id"], on=database)
    text = await ended("handoffs", "show", child["handoff_id"], on=database)

    assert shown["handoff"]["id"] == child["handoff_id"]
    assert [event["event"] for event in shown["events"]] == ["handoff.queued"]
    assert shown["trace"]["root_id"] == root["handoff_id"]
    assert [(each["handoff_id"], each["parent_id"]) for each in shown["trace"]["handoffs"]] == [
        (root["handoff_id"], None),
        (child["handoff_id"], root["handoff_id"]),
    ]
    assert f'└─ me → ada  "review a.py"  pending  {child["handoff_id"]}' in text.out


async def test_show_tells_what_is_known_of_a_deleted_handoff(
    database: Database, connection: Connection
) -> None:
    gone = (await data_of(*CREATE, on=database))["handoff_id"]
    await connection.execute("delete from handoffs")

    shown = await data_of("handoffs", "show", gone, on=database)

    assert shown["handoff"] is None
    assert [event["event"] for event in shown["events"]] == ["handoff.queued", "handoff.deleted"]
    assert shown["trace"]["handoffs"][0]["state"] == "deleted"


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
async def test_an_unknown_id_is_refused(database: Database, command: str) -> None:
    refused = await ended("handoffs", command, str(uuid4()), "--json", on=database)

    assert (refused.code, refused.error["code"]) == (65, "ZH004")
    assert "coordinator handoffs list" in refused.error["next"]


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
async def test_what_is_no_id_is_wrong_usage(database: Database, command: str) -> None:
    refused = await ended("handoffs", command, "12", on=database)

    assert refused.code == 64
    assert "'ID': '12' is not a valid UUID" in refused.err


async def test_cancel_ends_what_nobody_has_taken_up(
    database: Database, connection: Connection
) -> None:
    handoff_id = (await data_of(*CREATE, on=database))["handoff_id"]

    cancelled = await data_of("handoffs", "cancel", handoff_id, "--reason", "no need", on=database)
    again = await ended("handoffs", "cancel", handoff_id, on=database)

    assert cancelled["verdict"] == "cancelled"
    assert cancelled["handoff"]["last_error"] == "no need"
    assert (again.code, again.out) == (0, "cancelled\n")


async def test_cancel_asks_an_agent_at_work_to_stop(
    database: Database, connection: Connection
) -> None:
    await connection.execute("select register_agent('ada')")
    async with desk_at(database) as desk:
        handoff_id = await desk.give("ada")

    asked = await data_of("handoffs", "cancel", str(handoff_id), on=database)

    assert asked["verdict"] == "requested"
    assert asked["handoff"]["cancel_requested"] is True


async def test_cancel_refuses_what_has_succeeded(
    database: Database, connection: Connection
) -> None:
    await connection.execute("select register_agent('ada')")
    async with desk_at(database) as desk:
        handoff_id = await desk.give("ada")
    await connection.execute("update handoffs set status = 'completed'")

    refused = await ended("handoffs", "cancel", str(handoff_id), on=database)

    assert refused.code == 65
    assert "it is completed (succeeded), and that is final" in refused.err


async def test_retry_reopens_with_a_new_budget(database: Database, connection: Connection) -> None:
    handoff_id = (await data_of(*CREATE, on=database))["handoff_id"]
    await data_of("handoffs", "cancel", handoff_id, on=database)

    reopened = await data_of("handoffs", "retry", handoff_id, "--attempts", "2", on=database)

    row = reopened["handoff"]
    assert (row["status"], row["outcome"], row["retries"]) == ("pending", None, 1)
    assert row["max_attempts"] == 2


async def test_retry_refuses_what_has_not_ended(database: Database) -> None:
    handoff_id = (await data_of(*CREATE, on=database))["handoff_id"]

    refused = await ended("handoffs", "retry", handoff_id, "--json", on=database)

    assert (refused.code, refused.error["code"]) == (65, "ZH005")


async def test_an_agent_by_functions_may_not_read_the_tables(database: Database) -> None:
    async with database.connect() as admin:
        await admin.execute(f"create role {database.name}_agent login in role coordinator_agent")
    try:
        dsn = database.dsn_as(f"{database.name}_agent")
        refused = await ended("handoffs", "list", env={"DATABASE_URL": dsn})
    finally:
        async with database.connect() as admin:
            await admin.execute(f"drop role {database.name}_agent")

    assert refused.code == 65
    assert "permission denied" in refused.err
    assert "coordinator_daemon" in refused.err
