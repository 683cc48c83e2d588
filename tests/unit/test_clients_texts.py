"""Editing clients' files as text: what changes, what does not, and that undoing is the identity."""

import json
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.agents.clients import json_text, plan, toml_text
from coordinator.agents.clients.commands import Wanted, called, served
from coordinator.agents.clients.described import CLIENTS, Machine, Scope
from coordinator.agents.clients.files import write
from coordinator.agents.clients.plain import merged, same
from coordinator.agents.clients.texts import Uneditable, Unreadable

NEW = {"a": 1, "new": {"x": ["y", "z"], "n": None}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{\n  "a": 1\n}\n',
            '{\n  "a": 1,\n  "new": {\n    "x": ["y", "z"],\n    "n": null\n  }\n}\n',
        ),
        ("{ /* c */ }", '{ /* c */ "a": 1, "new": {"x": ["y", "z"], "n": null} }'),
        ("{ // c\r}", '{ // c\n  "a": 1,\n  "new": {\n    "x": ["y", "z"],\n    "n": null\n  }\n}'),
        ('{"a": 1}', '{"a": 1, "new": {"x": ["y", "z"], "n": null}}'),
        (
            '{\n\t"a": 1, // one\n}',
            '{\n\t"a": 1, // one\n\t"new": {\n\t\t"x": ["y", "z"],\n\t\t"n": null\n\t},\n}',
        ),
        (
            '{\n  "a": 1 // one\n  /* end */\n}',
            '{\n  "a": 1, // one\n  /* end */\n  "new": {\n    "x": ["y", "z"],\n'
            '    "n": null\n  }\n}',
        ),
        (
            '{\r\n    "a": 1\r\n}\r\n',
            '{\r\n    "a": 1,\r\n    "new": {\r\n        "x": ["y", "z"],\r\n'
            '        "n": null\r\n    }\r\n}\r\n',
        ),
    ],
)
def test_what_is_new_goes_behind_the_last_as_that_is_written(text: str, expected: str) -> None:
    assert json_text.rewritten(text, NEW) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n  "gone": 0,\n  "a": 1\n}', '{\n  "a": 1\n}'),
        ('{\n  "a": 1,\n  "gone": 0\n}', '{\n  "a": 1\n}'),
        ('{\n  "a": 1,\n  "gone": 0,\n}', '{\n  "a": 1,\n}'),
        ('{"gone": 0, "a": 1, "gone": 2}', '{ "a": 1}'),
        ('{\n  "a": 1, // one\n  // two\n  "gone": 0\n}', '{\n  "a": 1 // one\n  // two\n}'),
        (
            '{\n  // two\n  "gone": {"b": [0]}, // three\n  "a": 1\n}',
            '{\n  // two\n // three\n  "a": 1\n}',
        ),
    ],
)
def test_what_goes_takes_its_comma_along_and_leaves_comments(text: str, expected: str) -> None:
    written = json_text.rewritten(text, {"a": 1})

    assert json_text.read(written) == {"a": 1}
    assert written == expected


def test_the_last_that_goes_leaves_nothing_but_comments() -> None:
    assert json_text.rewritten('{"a": {\n  "gone": 0\n}}', {"a": {}}) == '{"a": {}}'
    assert json_text.rewritten('{ // c\n "gone": 0\n}', {}) == "{ // c\n}"
    # The end of the line is the end of the comment.
    assert json_text.rewritten('{ // c\n "gone": 0}', {}) == "{ // c\n}"
    text = '{"a": 1, // c\n "gone": 0, "b": 2}'
    assert json_text.rewritten(text, {"a": 1, "b": 2}) == '{"a": 1, // c\n "b": 2}'


def test_one_of_two_items_is_changed_in_place() -> None:
    text = '{"h": [ {"c": "x", "t": 1}, {"c": "y"} ] /* h */}'

    written = json_text.rewritten(text, {"h": [{"c": "z", "t": 1}, {"c": "y"}]})

    assert written == '{"h": [ {"c": "z", "t": 1}, {"c": "y"} ] /* h */}'


@pytest.mark.parametrize(
    "text", ['{"a": 1', "{'a': 1}", '{"a": 01}', "{} //\n{}", '{"a" 1}', "nul"]
)
def test_what_is_not_json_is_told_with_its_place(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^line \d+, column \d+: "):
        json_text.read(text)


def test_too_deep_or_too_long_is_no_json_either() -> None:
    for text in ("[" * 100_000, '{"a": ' + "1" * 5000 + "}"):
        with pytest.raises(Unreadable):
            json_text.read(text)


def test_a_table_is_changed_where_it_stands() -> None:
    text = (
        '[mcp_servers."coordinator"] # ours\n'
        'args = [\n  "mcp", # first\n  "]",\n] # last\n'
        "# between\n"
        'gone = """\n[z]\n"""\n'
        "\n# about z\n[z]\na = 1\n"
    )

    written = toml_text.rewritten(
        text, {"mcp_servers": {"coordinator": {"args": ["x"], "n": True}}, "z": {"a": 1}}
    )

    assert written == (
        '[mcp_servers."coordinator"] # ours\n'
        'args = ["x"] # last\n'
        "# between\n"
        "n = true\n"
        "\n# about z\n[z]\na = 1\n"
    )
    assert toml_text.rewritten(written, {"z": {"a": 1}}) == "# between\n\n# about z\n[z]\na = 1\n"


def test_a_table_of_ours_that_has_got_tables_of_its_own_goes_with_them() -> None:
    text = "[m.c]\na = 1\n[m.c.env]\nb = 2\n[m.d]\nc = 3\n"

    assert toml_text.rewritten(text, {"m": {"d": {"c": 3}}}) == "[m.d]\nc = 3\n"


@pytest.mark.parametrize("text", ["m = {d = {c = 3}}\n", "m.d.c = 3\n[[m.x]]\n", "[m]\nd.c = 3\n"])
def test_a_table_that_is_not_written_as_one_is_not_edited(text: str) -> None:
    before = tomllib.loads(text)

    with pytest.raises(Uneditable):
        toml_text.rewritten(text, {"m": {**before["m"], "d": {"c": 4}}})


def test_numbers_and_truth_are_not_the_same() -> None:
    assert not same({"a": [1]}, {"a": [True]})
    assert not same(1, 1.0)
    assert same(float("nan"), float("nan"))
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_what_we_wrote_follows_us_and_what_its_owner_wrote_does_not() -> None:
    current = {"ours": 1, "theirs": 2, "edited": "mine", "env": {"U": "$U", "M": 1}, "both": 0}
    old = {"ours": 1, "edited": "x", "env": {"U": "$U"}, "both": 1}

    new = merged(current, old, {"edited": "x", "both": 2, "added": 3})

    assert new == {"theirs": 2, "edited": "mine", "env": {"M": 1}, "both": 2, "added": 3}


def test_our_commands_are_known_behind_a_launcher() -> None:
    server = served("uvx", ["--from", "x", "/a/coordinator", "mcp", "--role=r", "--agent", "ada"])
    hook = called("cd /x; '/it''s/coordinator' agent hook claude rest --agent 'a b'")

    assert server == Wanted("/a/coordinator", "ada", ("r",))
    assert hook
    assert (hook.client, hook.word, hook.wanted.agent) == ("claude", "rest", "a b")


@pytest.mark.parametrize(
    "launcher",
    ["nice  coordinator", "env A='b c' \"${D}\"/coordinator", "env A=b\xa0c coordinator"],
)
def test_a_launcher_ends_with_our_program(launcher: str) -> None:
    hook = called(f"{launcher}  agent hook claude rest --agent ada")

    assert hook
    assert hook.launcher == launcher


@pytest.mark.parametrize(
    "line", [None, "", "'", "coordinator", "coordinator agent run", "xcoordinator agent hook a b"]
)
def test_other_commands_are_not_ours(line: object) -> None:
    assert called(line) is None
    assert served(line, ["agents"]) is None


# --- properties -----------------------------------------------------------------------------------

WORDS = st.text(max_size=8).filter(str.isprintable)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=4)
SERVERS = st.dictionaries(WORDS, OBJECTS, max_size=2)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "mcpServers": SERVERS,
        "permissions": st.fixed_dictionaries({}, optional={"allow": st.lists(WORDS, max_size=2)}),
        "hooks": st.dictionaries(
            st.sampled_from(["Stop", "SessionEnd", "stop", "PreToolUse"]),
            st.lists(OBJECTS, max_size=2),
            max_size=3,
        ),
        "version": VALUES,
    },
)


@st.composite
def json_files(draw: st.DrawFn) -> str:
    """A client's settings, laid out as anybody might, with comments."""
    document: dict[str, Any] = draw(OBJECTS) | draw(SETTINGS)
    indent = draw(st.sampled_from([None, 0, 1, 2, 4, "\t"]))
    text = json.dumps(document, indent=indent, ensure_ascii=draw(st.booleans()))
    lines = text.split("\n")
    if len(lines) > 1:
        notes = st.sampled_from(["", "", ' // note, " {', " /* [ */"])
        lines = [line + draw(notes) for line in lines]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


@st.composite
def toml_files(draw: st.DrawFn) -> str:
    """A client's settings in TOML, with comments and empty lines between."""
    between = st.sampled_from(["", "\n", "# note [x] '\n", " \t\n"])
    values = st.sampled_from(
        [
            "1",
            "'a # b'",
            '"\\"[x]"',
            '"""\n[t]\n# no"""',
            "[\n 1, # one\n 2]",
            "{a = 1}",
            "1979-05-27",
        ]
    )
    tables = draw(
        st.lists(
            st.sampled_from(
                ["mcp_servers", "mcp_servers.other", "p.'a.b'", 'p."]"', 'mcp_servers."x y".env']
            ),
            unique=True,
            max_size=4,
        )
    )
    text = "".join(f"k{index} = {draw(values)}\n" for index in range(draw(st.integers(0, 2))))
    for table in tables:
        text += draw(between) + f"[{table}]{draw(st.sampled_from(['', ' # t']))}\n"
        text += "".join(
            f"k{index} = {draw(values)}{draw(st.sampled_from(['', '  # v']))}\n{draw(between)}"
            for index in range(draw(st.integers(0, 2)))
        )
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return text.removesuffix(draw(st.sampled_from(["", "\n"]))).replace("\n", newline)


CASES = st.one_of(
    st.tuples(st.sampled_from(["claude", "gemini", "cursor", "trae"]), json_files()),
    st.tuples(st.just("codex"), toml_files()),
)


@settings(deadline=None)
@given(case=CASES, forgets=st.booleans())
def test_install_and_undo_are_the_identity(case: tuple[str, str], forgets: bool) -> None:
    client, text = case
    with TemporaryDirectory() as name:
        folder = Path(name)
        machine = Machine(folder, folder, {}, is_mac=False)
        where = plan.Where(CLIENTS[client], Scope.PROJECT, machine, folder / "state" / "clients")
        spots = {CLIENTS[client].servers_in, CLIENTS[client].hooks_in} - {None}
        files = [spot.path(Scope.PROJECT, machine) for spot in spots if spot]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            file.write_text(
                text if file.suffix != ".json" or client != "codex" else "{}", newline=""
            )
        before = {file: file.read_bytes() for file in files}

        for agent in ("ada", "eve"):
            write(plan.install(where, Wanted("coordinator", agent), with_hooks=True).changes)
        again = plan.install(where, Wanted("coordinator", "eve"), with_hooks=True)
        assert not again.files
        if forgets:
            for memory in where.memories.iterdir():
                memory.unlink()
        undone = plan.undo(where, None)
        write(undone.changes, then_remove=undone.folders)

        if not forgets:
            assert {file: file.read_bytes() for file in files} == before
            assert not (folder / "state" / "coordinator").exists()
        for file in files:
            assert without_empty(read(file)) == without_empty(read_text(file, before[file]))


def read(file: Path) -> dict[str, Any]:
    return read_text(file, file.read_bytes()) if file.exists() else {}


def read_text(file: Path, content: bytes) -> dict[str, Any]:
    read = toml_text.read if file.suffix == ".toml" else json_text.read
    return read(content.decode())


def without_empty(data: dict[str, Any]) -> dict[str, Any]:
    """What is left if nobody remembers whose an empty object was."""
    frame = {"version"} if data.get("version") == 1 else set()
    found = {}
    for key, value in data.items():
        inner = without_empty(value) if isinstance(value, dict) else value
        if key not in frame and inner not in ({}, []):
            found[key] = inner
    return found
