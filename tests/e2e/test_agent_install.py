"""`coordinator agent install`: what it writes into clients' files, what it keeps and undoes."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from coordinator.agents.clients.described import CLIENTS
from coordinator.cli.install import CLIENT_NAMES
from tests.support.installing import Place, data, on_a_terminal
from tests.support.processes import SCRIPT, running

SCOPES = ("project", "user")
EVERYWHERE = [(client, scope) for client in CLIENT_NAMES for scope in SCOPES]
PASSWORD = "planted-password-7741"
DSN = f"postgresql://somebody:{PASSWORD}@db.example.org/work"
SECRET = "ghp_planted3319"
JSON = """\
{
    // what is not ours
    "mcpServers": {
        "other": {"command": "other", "args": []} // stays
    },
    "permissions": { "allow": [ "Bash(ls)" ] },
    "hooks": {
        "Stop": [ { "hooks": [ {"type": "command", "command": "./mine.sh"} ] } ], /* too */
        "AfterAgent": [],
        "stop": [ {"command": "./mine.sh"} ]
    },
    "theme": "dark",
    "version": 1
}
"""
TOML = """\
model = "o9"  # what is not ours
theme   =   'dark'

[mcp_servers.other]
command = "other"

# about the projects
[projects."/a/b"]
trust_level = "trusted"
"""

QUOTED = shlex.quote(str(SCRIPT))
"""The script, as a shell takes it: its folder may have a space in its name."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.in_(tmp_path)


def test_every_client_that_is_described_has_its_name() -> None:
    assert tuple(CLIENTS) == CLIENT_NAMES


@pytest.mark.parametrize(("client", "scope"), EVERYWHERE)
def test_where_nothing_was_everything_is_written_and_taken_back(
    place: Place, client: str, scope: str
) -> None:
    there = place.tree

    place.at_once(client, "--agent", "ada", "--role", "a b", "--scope", scope)
    server = place.server(client, scope)
    written = place.tree
    again = place.at_once(client, "--agent", "ada", "--role", "a b", "--scope", scope)
    assert place.tree == written
    place.at_once(client, "--undo", "--scope", scope)

    assert server["command"] == str(SCRIPT)
    assert server["args"] == ["mcp", "--agent", "ada", "--role", "a b"]
    assert {
        written[str(path.relative_to(place.home.parent))][1] for path in place.files(client, scope)
    } == {0o600 if scope == "user" else 0o644}
    assert again == "nothing to change\n"
    # The folder for state is not ours alone.
    left = {name for name in place.tree if not name.startswith("home/.local")}
    assert left == set(there)
    assert not list(place.home.rglob("coordinator"))


@pytest.mark.parametrize(("client", "scope"), EVERYWHERE)
def test_what_others_wrote_stays_with_its_comments_and_comes_back_byte_for_byte(
    place: Place, client: str, scope: str
) -> None:
    files = foreign(place, client, scope)
    before = {file: file.read_bytes() for file in files}

    place.at_once(client, "--agent", "ada", "--scope", scope)
    between = {file: file.read_text() for file in files}
    place.at_once(client, "--agent", "eve", "--role", "r", "--scope", scope)
    place.at_once(client, "--undo", "--scope", scope)

    for file, text in between.items():
        assert is_kept(before[file].decode(), text), text
        assert "mine.sh" not in text or "Bash(ls)" in text
    assert {file: file.read_bytes() for file in files} == before


@pytest.mark.parametrize("client", CLIENT_NAMES)
def test_what_others_change_meanwhile_survives_the_undoing(place: Place, client: str) -> None:
    files = foreign(place, client, "project")
    before = {file: file.read_text() for file in files}
    place.at_once(client, "--agent", "ada")
    for file in files:
        file.write_text(file.read_text().replace("dark", "light"))

    place.at_once(client, "--undo")

    assert {file: file.read_text() for file in files} == {
        file: text.replace("dark", "light") for file, text in before.items()
    }


def test_each_client_gets_its_own_settings(place: Place) -> None:
    for client in CLIENT_NAMES:
        place.at_once(client, "--agent", "ada")

    def settings(client: str) -> dict[str, object]:
        server = place.server(client, "project")
        return {key: server[key] for key in server if key not in ("command", "args")}

    assert settings("claude") == {"alwaysLoad": True}
    assert settings("codex") == {
        "env_vars": ["DATABASE_URL", "COORDINATOR_AGENT", "COORDINATOR_SOCKET"],
        "required": True,
        "tool_timeout_sec": 300,
    }
    assert settings("gemini") == {
        "env": {"DATABASE_URL": "$DATABASE_URL"},
        "timeout": 600_000,
        "trust": True,
    }
    assert settings("cursor") == {"env": {"DATABASE_URL": "${env:DATABASE_URL}"}}
    assert settings("antigravity") == settings("trae") == {}
    allowed = data(place.file("claude", "project", hooks=True))["permissions"]["allow"]
    assert allowed == ["mcp__coordinator"]
    assert data(place.file("cursor", "project", hooks=True))["version"] == 1


def test_each_client_with_hooks_gets_its_own(place: Place) -> None:
    for client in ("claude", "codex", "gemini", "cursor"):
        place.at_once(client, "--agent", "a'da")

    def words(client: str) -> dict[str, list[str]]:
        lines = place.hook_lines(client, "project")
        return {event: shlex.split(line) for event, line in lines.items()}

    def calls(client: str, **events: str) -> dict[str, list[str]]:
        return {
            event: [str(SCRIPT), "agent", "hook", client, word, "--agent", "a'da"]
            for event, word in events.items()
        }

    assert words("claude") == calls(
        "claude", SessionStart="start", UserPromptSubmit="busy", Stop="rest", SessionEnd="end"
    )
    assert words("codex") == calls(
        "codex", SessionStart="start", UserPromptSubmit="busy", Stop="rest", SessionEnd="end"
    )
    assert words("gemini") == calls(
        "gemini", BeforeAgent="busy", AfterAgent="rest", SessionEnd="end"
    )
    assert words("cursor") == calls(
        "cursor", beforeSubmitPrompt="busy", stop="rest", sessionEnd="end"
    )
    hooks = data(place.file("claude", "project", hooks=True))["hooks"]
    waiting = [hooks[event][0]["hooks"][0] for event in ("SessionStart", "Stop")]
    assert all(each["asyncRewake"] and "async" not in each for each in waiting)
    assert {each["timeout"] for each in waiting} == {86_400}
    assert (
        data(place.file("cursor", "project", hooks=True))["hooks"]["stop"][0]["loop_limit"] == 100
    )


def test_without_hooks_there_are_none_and_they_go_if_there_were(place: Place) -> None:
    place.at_once("claude", "--agent", "ada", "--no-hooks")
    bare = data(place.file("claude", "project", hooks=True))
    place.at_once("claude", "--agent", "ada")
    place.at_once("claude", "--agent", "ada", "--no-hooks")

    assert bare == {"permissions": {"allow": ["mcp__coordinator"]}}
    assert data(place.file("claude", "project", hooks=True)) == bare


# --- updates --------------------------------------------------------------------------------------


async def test_another_name_is_an_update_and_shown_as_one(place: Place) -> None:
    await place.installed("claude", "--agent", "ada")

    update = await place.installed("claude", "--agent", "eve")

    assert "note: agent ada becomes eve" in update.err
    assert f"update: {place.file('claude', 'project')}" in update.err
    changed = [line for line in update.out.splitlines() if line[:1] in "+-" and line[1:2] == " "]
    assert len(changed) == 10, update.out  # the arguments, and four hooks
    assert place.server("claude", "project")["args"] == ["mcp", "--agent", "eve"]


def test_what_its_owner_has_changed_in_our_entry_stays(place: Place) -> None:
    place.at_once("gemini", "--agent", "ada")
    file = place.file("gemini", "project")
    file.write_text(
        file.read_text()
        .replace('"timeout": 600000', '"timeout": 5')
        .replace('"$DATABASE_URL"', '"$DATABASE_URL", "MINE": "1"')
    )

    place.at_once("gemini", "--agent", "eve", "--dsn-file", str(dsn_file(place)))

    server = place.server("gemini", "project")
    assert (server["timeout"], server["env"]) == (5, {"MINE": "1"})
    assert server["args"][:3] == ["mcp", "--agent", "eve"]


def test_what_its_owner_has_changed_in_our_hooks_stays(place: Place) -> None:
    place.at_once("codex", "--agent", "ada")
    file = place.file("codex", "project", hooks=True)
    settings = data(file)
    settings["hooks"]["Stop"][0]["matcher"] = "mine"
    settings["hooks"]["Stop"][0]["hooks"][0] |= {"timeout": 31, "statusMessage": "hm"}
    settings["hooks"]["Stop"][0]["hooks"].insert(0, {"type": "command", "command": "./mine.sh"})
    file.write_text(json.dumps(settings))

    place.at_once("codex", "--agent", "eve")
    [group] = data(file)["hooks"]["Stop"]
    place.at_once("codex", "--undo")

    assert group["matcher"] == "mine"
    assert group["hooks"][1] == {
        "type": "command",
        "command": f"{QUOTED} agent hook codex rest --agent eve",
        "timeout": 31,
        "statusMessage": "hm",
    }
    left = {"matcher": "mine", "hooks": [{"type": "command", "command": "./mine.sh"}]}
    assert data(file) == {"hooks": {"Stop": [left]}}


def test_an_entry_that_its_owner_has_renamed_is_still_ours(place: Place) -> None:
    place.at_once("claude", "--agent", "ada")
    file = place.file("claude", "project")
    file.write_text(file.read_text().replace('"coordinator": {', '"team": {'))

    place.at_once("claude", "--agent", "ada", "--role", "r")
    names = set(data(file)["mcpServers"])
    settings = data(place.file("claude", "project", hooks=True))
    place.at_once("claude", "--undo")

    assert names == {"team"}
    assert "mcp__team" in settings["permissions"]["allow"]
    assert not file.exists()


async def test_an_entry_that_was_edited_by_hand_is_named_before_it_goes(place: Place) -> None:
    await place.installed("codex", "--agent", "ada")
    file = place.file("codex", "project")
    file.write_text(file.read_text().replace("= 300", "= 5") + "enabled = true\n# mine\n")
    hooks = place.file("codex", "project", hooks=True)
    hooks.write_text(hooks.read_text().replace('"timeout": 30', '"timeout": 31', 1))

    shown = await place.install("codex", "--undo")
    gone = await place.install("codex", "--undo", "--yes")

    assert (shown.code, gone.code) == (64, 0)
    assert "edited by hand" in shown.err
    assert "mcp_servers.coordinator: tool_timeout_sec, enabled" in shown.err
    assert "hooks.SessionStart" in shown.err
    assert "hooks.Stop" not in shown.err
    assert file.read_text() == "# mine\n"
    assert not hooks.exists()


async def test_the_undoing_for_one_agent_leaves_another_alone(place: Place) -> None:
    await place.installed("cursor", "--agent", "ada")
    written = place.tree

    other = await place.installed("cursor", "--undo", "--agent", "eve")

    assert other.err == "nothing of ours is there\n"
    assert place.tree == written


# --- what stands beside us in a command -----------------------------------------------------------


def test_a_launcher_before_the_server_stays(place: Place) -> None:
    file = place.file("claude", "project")
    launcher = ["run", "--env-file", "prod.env", "--", "coordinator"]
    entry = {"command": "op", "args": [*launcher, "mcp", "--agent", "ada"]}
    file.write_text(json.dumps({"mcpServers": {"coordinator": entry}}))

    place.at_once("claude", "--agent", "ada", "--role", "r")
    server = place.server("claude", "project")
    again = place.at_once("claude", "--agent", "ada", "--role", "r")

    assert server["command"] == "op"
    assert server["args"] == [*launcher, "mcp", "--agent", "ada", "--role", "r"]
    assert again == "nothing to change\n"


def test_a_launcher_before_a_hook_stays_as_it_is_written(place: Place) -> None:
    start = "env KEY='planted key'  \"${HERE}/coordinator\""
    with_hook(place, f"{start} agent hook claude rest --agent ada")

    shown = place.at_once("claude", "--agent", "eve")

    lines = place.hook_lines("claude", "project")
    assert lines["Stop"] == f"{start} agent hook claude rest --agent eve"
    assert "\"... '${HERE}/coordinator' agent hook claude rest --agent eve\"" in shown
    assert "planted key" not in shown


@pytest.mark.parametrize(
    "line",
    [
        "KEY=planted ./notify-me.sh && coordinator agent hook claude rest --agent c1",
        "./notify-me.sh;coordinator agent hook claude rest --agent c1",
        "coordinator agent hook claude rest --agent c1 || true",
        "coordinator agent hook claude rest --agent c1 2>>log",
        "./notify-me.sh\ncoordinator agent hook claude rest --agent c1",
        "(coordinator agent hook claude rest --agent c1)",
        "coordinator agent hook claude rest --agent c1 # mine",
    ],
)
def test_a_line_with_more_than_our_command_is_left_and_named(place: Place, line: str) -> None:
    file = with_hook(place, line)
    before = file.read_bytes()

    installed = place.at_once("claude", "--agent", "c1")
    other = place.at_once("claude", "--agent", "eve")
    lines = place.hook_lines("claude", "project")
    file.write_text(file.read_text() + "\n")
    undone = place.at_once("claude", "--undo")
    again = place.at_once("claude", "--undo")

    left = "note: hooks.Stop has more than our command in its line, and is left as it is"
    hint = f"{left}: let it run {QUOTED} agent hook claude rest --agent eve\n"
    assert lines["Stop"] == line
    assert lines["SessionEnd"].endswith(" agent hook claude end --agent eve")
    assert f"{left}\n" in installed
    assert hint in other
    assert f"{left}: take our part out by hand\n" in undone
    assert again.startswith(f"nothing of ours is there\n{left}")
    assert data(file) == json.loads(before)
    assert "planted" not in installed + other + undone


def test_an_operator_within_quotes_is_none(place: Place) -> None:
    with_hook(place, "coordinator agent hook claude rest --agent 'a; b'")

    place.at_once("claude", "--agent", "eve")

    lines = place.hook_lines("claude", "project")
    assert lines["Stop"] == f"{QUOTED} agent hook claude rest --agent eve"


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "text", "where"),
    [
        ("claude", '{\n  "a": 1,\n  b: 2\n}', "line 3, column 3"),
        ("claude", '{"a": [1 2]}', "line 1, column 10"),
        ("claude", '{"a": "x\n"}', "line 1, column 7"),
        ("claude", '{"a": 1} x', "line 1, column 10"),
        ("gemini", '{"mcpServers": {}', "line 1, column 18"),
        ("codex", "a = 1\nb = = 2\n", "line 2, column 5"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_whole(
    place: Place, client: str, text: str, where: str
) -> None:
    broken = place.file(client, "project", hooks=client == "claude")
    broken.parent.mkdir(exist_ok=True)
    broken.write_text(text)
    before = place.tree

    refused = await place.install(client, "--agent", "ada", "--yes", "--json")

    assert refused.code == 78
    assert str(broken) in refused.error["what"]
    assert where in refused.error["why"]
    assert place.tree == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "the file is not an object"),
        ('{"mcpServers": []}', "mcpServers is not an object"),
        (
            '{"mcpServers": {"coordinator": {"command": "x"}}}',
            "mcpServers.coordinator does not run",
        ),
    ],
)
async def test_what_the_client_would_read_otherwise_is_refused(
    place: Place, text: str, why: str
) -> None:
    place.file("trae", "project").parent.mkdir()
    place.file("trae", "project").write_text(text)

    refused = await place.install("trae", "--agent", "ada", "--yes", "--json")

    assert refused.code == 78
    assert refused.error["why"].startswith(why)
    assert place.file("trae", "project").read_text() == text


async def test_a_table_inside_a_value_is_refused_with_the_lines_to_write(place: Place) -> None:
    file = place.file("codex", "project")
    file.parent.mkdir()
    file.write_text('mcp_servers = {other = {command = "x"}}\n')

    refused = await place.install("codex", "--agent", "ada", "--yes", "--json")

    assert refused.code == 78
    assert "[mcp_servers.coordinator]\ncommand = " in refused.error["next"]
    assert list(place.tree) == [
        str(path.relative_to(place.home.parent)) for path in (file.parent, file)
    ]


async def test_where_one_file_cannot_be_written_none_is(place: Place) -> None:
    # Root may write into any folder but such a one.
    folder = place.file("claude", "project", hooks=True).parent
    folder.symlink_to("/proc/self/fdinfo") if os.geteuid() == 0 else folder.mkdir(mode=0o555)
    before = set(place.tree)

    refused = await place.install("claude", "--agent", "ada", "--yes", "--json")

    assert refused.code == 78
    assert refused.error["what"].endswith("settings.json cannot be written")
    assert set(place.tree) == before


async def test_without_a_terminal_nobody_agrees(place: Place) -> None:
    refused = await place.install("claude", "--agent", "ada")

    assert refused.code == 64
    assert "--yes" in refused.err
    assert "+++ " in refused.out
    assert place.tree == {}


@pytest.mark.parametrize("name", ["", " ada", "a\nb", "x" * 129])
async def test_what_the_database_would_take_for_no_name_is_refused(place: Place, name: str) -> None:
    agent = await place.install("claude", "--agent", name, "--yes")
    role = await place.install("claude", "--agent", "ada", "--role", name, "--yes")

    assert (agent.code, role.code) == (64, 64)
    assert place.tree == {}


async def test_a_name_is_needed_and_a_role_is_not_for_the_undoing(place: Place) -> None:
    nameless = await place.install("claude", "--yes")
    role = await place.install("claude", "--undo", "--role", "r", "--yes")
    unknown = await place.install("emacs", "--agent", "ada")

    assert (nameless.code, role.code, unknown.code) == (64, 64, 64)
    assert "--agent is missing" in nameless.err


# --- how it writes --------------------------------------------------------------------------------


async def test_a_link_is_followed_and_stays_and_so_do_mode_and_line_ends(place: Place) -> None:
    elsewhere = place.home / "dotfiles" / "claude.json"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b'{\r\n\t"a": 1\r\n}\r\n')
    elsewhere.chmod(0o640)
    link = place.file("claude", "user")
    link.symlink_to(elsewhere)

    await place.installed("claude", "--agent", "ada", "--scope", "user")

    assert link.is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o640
    lines = elsewhere.read_bytes().split(b"\n")
    assert lines[:3] == [b"{\r", b'\t"a": 1,\r', b'\t"mcpServers": {\r']
    assert all(line.endswith(b"\r") for line in lines[:-1])


def test_where_the_server_could_not_run_that_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = place.at_once("trae", "--agent", "ada")
    monkeypatch.setitem(sys.modules, "mcp", None)
    lacking = place.at_once("trae", "--agent", "eve")

    assert "[mcp]" not in whole
    assert "pip install 'agent-coordinator[mcp]'" in lacking


async def test_a_dry_run_shows_the_change_and_writes_nothing(place: Place) -> None:
    shown = await place.install("codex", "--agent", "ada", "--dry-run")
    told = await place.install("codex", "--agent", "ada", "--dry-run", "--json")

    assert shown.code == 0
    assert "+ mcp_servers.coordinator: {\n" in shown.out
    assert told.data["written"] is False
    assert [file["deed"] for file in told.data["files"]] == ["create", "create"]
    assert "".join(file["diff"] for file in told.data["files"]) == shown.out
    assert any("/hooks" in note for note in told.data["notes"])
    assert place.tree == {}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("client", CLIENT_NAMES)
def test_neighbours_secrets_are_never_shown(place: Place, client: str, indent: int | None) -> None:
    neighbours = secretive(place, client, indent)
    before = place.tree
    added = told(place, client, "--agent", "ada", "--dry-run")
    assert place.tree == before
    updated = place.at_once(client, "--agent", "ada")
    updated += place.at_once(client, "--agent", "eve", "--role", "r")
    for file in neighbours:
        file.write_text(file.read_text() + "\n")
    removed = told(place, client, "--undo", "--dry-run")

    assert "coordinator" in added
    assert "coordinator" in removed
    assert SECRET not in added + updated + removed


def test_a_variable_that_the_owner_gave_our_server_is_not_shown(place: Place) -> None:
    place.at_once("claude", "--agent", "ada")
    file = place.file("claude", "project")
    settings = data(file)
    settings["mcpServers"]["coordinator"]["env"] = {"GITHUB_TOKEN": SECRET}
    settings["mcpServers"]["coordinator"]["args"] += ["--token", SECRET]
    file.write_text(json.dumps(settings))

    shown = place.at_once("claude", "--undo")

    assert '-     "GITHUB_TOKEN": "..."' in shown
    assert '"args": ["mcp", "--agent", "ada", "...", "..."]' in shown
    assert SECRET not in shown


async def test_a_yes_on_the_terminal_writes(place: Place) -> None:
    with on_a_terminal(place, "claude", "--agent", "ada") as terminal:
        shown = await terminal.shows("[y/N]")
        code = await terminal.answers("y")

    assert code == 0
    assert "+++ " in shown
    assert place.server("claude", "project")


async def test_a_no_on_the_terminal_writes_nothing(place: Place) -> None:
    with on_a_terminal(place, "claude", "--agent", "ada") as terminal:
        await terminal.shows("[y/N]")
        code = await terminal.answers("n")

    assert code == 1
    assert place.tree == {}


async def test_what_somebody_changes_between_the_question_and_the_answer_is_noticed(
    place: Place,
) -> None:
    with on_a_terminal(place, "claude", "--agent", "ada") as terminal:
        await terminal.shows("[y/N]")
        place.file("claude", "project").write_text('{"theirs": 1}')
        code = await terminal.answers("y")

    assert code == 78
    assert list(place.tree) == [str(place.file("claude", "project").relative_to(place.home.parent))]
    assert place.file("claude", "project").read_text() == '{"theirs": 1}'


async def test_no_file_ever_gets_the_dsn(place: Place) -> None:
    file = dsn_file(place)
    await place.installed("gemini", "--agent", "ada", env={"DATABASE_URL": DSN})
    await place.installed("claude", "--agent", "eve", "--dsn-file", str(file))
    path = place.file("gemini", "project")
    path.write_text(path.read_text().replace("$DATABASE_URL", DSN))
    shown = await place.install("gemini", "--undo", "--dry-run")

    args = place.server("claude", "project")["args"]
    texts = {name: text for name, (text, _) in place.tree.items() if PASSWORD in text}
    assert args == ["mcp", "--agent", "eve", "--dsn-file", str(file)]
    assert set(texts) == {str(each.relative_to(place.home.parent)) for each in (file, path)}
    assert '-   "env": {\n-     "DATABASE_URL": "..."\n-   }' in shown.out
    assert PASSWORD not in shown.out


async def test_a_file_that_others_may_read_is_warned_of_and_one_without_a_dsn_refused(
    place: Place,
) -> None:
    file = dsn_file(place)
    file.chmod(0o644)
    warned = await place.install("trae", "--agent", "ada", "--dsn-file", str(file), "--dry-run")
    codes = []
    for text in ("\n", "no dsn"):
        file.write_text(text)
        refused = await place.install("trae", "--agent", "ada", "--dsn-file", str(file), "--yes")
        codes.append(refused.code)

    assert "chmod 600" in warned.err
    assert codes == [78, 78]


async def test_the_bare_name_is_written_where_the_path_leads_to_the_same_program(
    place: Place,
) -> None:
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"

    await place.installed("claude", "--agent", "ada", env={"PATH": path})

    assert place.server("claude", "project")["command"] == "coordinator"
    assert place.hook_lines("claude", "project")["Stop"].startswith("coordinator agent hook ")


async def test_a_path_with_spaces_and_quotes_is_one_word_to_a_shell(place: Place) -> None:
    program = place.home / 'it\'s "here" $HOME' / "coordinator"
    program.parent.mkdir()
    program.symlink_to(SCRIPT)
    command = [str(program), "agent", "install", "claude", "--agent", "a $b", "--yes"]
    async with running(command, env=place.environ, cwd=place.project) as process:
        assert await process.wait() == 0

    line = place.hook_lines("claude", "project")["Stop"]
    async with running(["sh", "-c", f"printf '%s\\n' {line}"]) as shell:
        await shell.wait()
        words = shell.stdout.splitlines()

    assert place.server("claude", "project")["command"] == str(program)
    assert words == [str(program), "agent", "hook", "claude", "rest", "--agent", "a $b"]


# --- where the files are --------------------------------------------------------------------------


async def test_a_users_files_are_where_variables_have_moved_them(place: Place) -> None:
    moved = {
        name: str(place.home / name)
        for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME")
    }
    for client in ("claude", "codex", "gemini"):
        await place.installed(client, "--agent", "ada", "--scope", "user", env=moved)

    written = {name for name, (text, _) in place.tree.items() if text}
    assert {name for name in written if ".local" not in name} == {
        "home/CLAUDE_CONFIG_DIR/.claude.json",
        "home/CLAUDE_CONFIG_DIR/settings.json",
        "home/CODEX_HOME/config.toml",
        "home/CODEX_HOME/hooks.json",
        "home/GEMINI_CLI_HOME/.gemini/settings.json",
    }


async def test_an_older_antigravity_keeps_its_file(place: Place) -> None:
    older = place.home / ".gemini" / "antigravity" / "mcp_config.json"
    older.parent.mkdir(parents=True)
    older.write_text("")

    await place.installed("antigravity", "--agent", "ada", "--scope", "user")
    there = data(older)
    await place.installed("antigravity", "--undo", "--scope", "user")

    assert set(there["mcpServers"]) == {"coordinator"}
    assert older.read_text() == ""


# --- looks ----------------------------------------------------------------------------------------


def foreign(place: Place, client: str, scope: str) -> list[Path]:
    """Write what others would have in the client's files."""
    files = place.files(client, scope)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TOML if file.suffix == ".toml" else JSON)
    return files


def secretive(place: Place, client: str, indent: int | None) -> list[Path]:
    """Write files in which a secret stands on every side of where ours goes."""
    key = CLIENTS[client].servers_key
    server = {"command": "other", "args": ["--token", SECRET], "env": {"GITHUB_TOKEN": SECRET}}
    hook = {"type": "command", "command": f"TOKEN={SECRET} ./mine.sh"}
    event = [{"hooks": [hook]}] if CLIENTS[client].grouped else [hook]
    events = dict.fromkeys((hook.event for hook in CLIENTS[client].hooks), event)
    rules = {"allow": [f"Bash(curl {SECRET})"]}
    whole = {"oauth": SECRET, key: {"o": server}, "hooks": events, "permissions": rules}
    files = place.files(client, "project")
    for file in files:
        file.parent.mkdir(exist_ok=True)
        if file.suffix == ".toml":
            file.write_text(f'[{key}.o]\ncommand = "other"\nenv = {{ TOKEN = "{SECRET}" }}\n')
        else:
            file.write_text(json.dumps(whole | {"last": SECRET}, indent=indent))
    return files


def told(place: Place, *arguments: str) -> str:
    """All that the command tells, to people and to programs."""
    return place.at_once(*arguments) + place.at_once(*arguments, "--json")


def with_hook(place: Place, line: str) -> Path:
    """Write Claude Code's settings with one hook, at the end of a turn."""
    file = place.file("claude", "project", hooks=True)
    file.parent.mkdir()
    handler = {"type": "command", "command": line}
    file.write_text(json.dumps({"hooks": {"Stop": [{"hooks": [handler]}]}}))
    return file


def is_kept(before: str, after: str) -> bool:
    """Whether all characters but white space are still there, in their order."""
    rest = iter(after)
    return all(char in rest for char in before if not char.isspace())


def dsn_file(place: Place) -> Path:
    file = place.home / "dsn"
    file.write_text(f"{DSN}\n")
    file.chmod(0o600)
    return file
