"""Where settings come from, and which are refused."""

import errno
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coordinator.config import RELOADABLE, Changes, Settings, changes
from coordinator.config.durations import duration, shown
from coordinator.config.page import page
from coordinator.core.errors import ConfigError
from coordinator.core.events import Level

ROOT = Path(__file__).parents[2]
SECRET = "postgresql://ada:hunter2@db/x"


def refusal(
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings.load(environ, file=file, flags=flags)
    return str(caught.value)


def a_file(folder: Path, text: str) -> Path:
    path = folder / "coordinator.toml"
    path.write_text(text, encoding="utf-8")
    return path


def dsn(settings: Settings) -> str | None:
    return settings.dsn.get_secret_value() if settings.dsn else None


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("10", timedelta(seconds=10)),
        ("10s", timedelta(seconds=10)),
        (" 2.5s ", timedelta(seconds=2.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("2m", timedelta(minutes=2)),
        ("1h", timedelta(hours=1)),
        ("1h30m", timedelta(hours=1.5)),
        ("1d", timedelta(days=1)),
        ("PT10S", timedelta(seconds=10)),
        ("PT1M30.5S", timedelta(seconds=90.5)),
        ("P1DT1H", timedelta(hours=25)),
        (10, timedelta(seconds=10)),
        (0.25, timedelta(milliseconds=250)),
        (timedelta(minutes=1), timedelta(minutes=1)),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: object, span: timedelta) -> None:
    assert duration(text) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "10x",
        "-5s",
        "10 s",
        "1e3",
        "P",
        "PT",
        "nan",
        True,
        None,
        [],
        float("inf"),
        "9" * 30,
    ],
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|is too long"):
        duration(text)


@given(st.integers(0, 10**9).map(lambda number: timedelta(milliseconds=number)))
def test_a_duration_that_is_shown_can_be_read_again(span: timedelta) -> None:
    assert duration(shown(span)) == span


def test_nothing_given_leaves_the_defaults() -> None:
    settings = Settings.load({})

    assert settings == Settings()
    assert set(settings.origins.values()) == {"default"}


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = a_file(tmp_path, 'safety_poll = "1s"\ntail_interval = "1s"\nleader_poll = 1.5\n')
    environ = {"COORDINATOR_SAFETY_POLL": "2s", "COORDINATOR_TAIL_INTERVAL": "2s"}

    settings = Settings.load(environ, file=file, flags={"safety_poll": "3s", "log_level": None})

    assert settings.safety_poll == timedelta(seconds=3)
    assert settings.tail_interval == timedelta(seconds=2)
    assert settings.leader_poll == timedelta(seconds=1.5)
    assert settings.log_level is Level.INFO
    assert settings.origins["safety_poll"] == "flag --safety-poll"
    assert settings.origins["tail_interval"] == "env COORDINATOR_TAIL_INTERVAL"
    assert settings.origins["leader_poll"] == f"file {file}: leader_poll"
    assert settings.origins["log_level"] == "default"


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = a_file(tmp_path, "log_content = true")

    assert Settings.load({"COORDINATOR_CONFIG": str(file)}).log_content


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.load({"COORDINATOR_DSN": "", "DATABASE_URL": ""}) == Settings()


def test_values_are_read_from_text() -> None:
    settings = Settings.load(
        {
            "COORDINATOR_DISPATCH_BATCH": "7",
            "COORDINATOR_LOG_CONTENT": "yes",
            "COORDINATOR_LOG_LEVEL": "debug",
            "COORDINATOR_HEALTH_SOCKET": "/run/c.sock",
        }
    )

    assert (settings.dispatch_batch, settings.log_content) == (7, True)
    assert (settings.log_level, settings.health_socket) == (Level.DEBUG, Path("/run/c.sock"))


def test_an_unknown_variable_is_refused_with_the_likely_name() -> None:
    assert "did you mean COORDINATOR_STALE_AFTER?" in refusal({"COORDINATOR_STALE_AFTR": "1m"})


def test_an_unknown_key_in_the_file_is_refused_with_the_likely_name(tmp_path: Path) -> None:
    file = a_file(tmp_path, "stale-after = 60\n[database]\nhost = 1\n")

    text = refusal({}, file=file)

    assert f"unknown key in {file}: database, stale-after" in text
    assert "stale-after: did you mean stale_after?" in text


def test_an_unknown_flag_is_refused() -> None:
    assert "did you mean --stale-after?" in refusal({}, flags={"stale_aftr": "1m"})


def test_a_variable_that_is_read_elsewhere_is_left_alone() -> None:
    settings = Settings.load({"COORDINATOR_HANDOFF_ID": "7"}, others={"COORDINATOR_HANDOFF_ID"})

    assert settings == Settings()


@pytest.mark.parametrize(
    "variable",
    [
        "COORDINATOR_SERVICE_HOST",
        "COORDINATOR_SERVICE_PORT_HEALTH",
        "COORDINATOR_PORT",
        "COORDINATOR_PORT_8787_TCP_ADDR",
        "COORDINATOR_HEALTH_SERVICE_HOST",
    ],
)
def test_what_kubernetes_sets_for_a_service_of_our_name_is_left_alone(variable: str) -> None:
    assert Settings.load({variable: "10.0.0.1"}) == Settings()


def test_a_wrong_value_is_named_with_its_place_and_the_way_out() -> None:
    assert refusal({"COORDINATOR_STALE_AFTER": "soon"}) == (
        "stale_after = 'soon' (env COORDINATOR_STALE_AFTER): "
        "is not a duration; write 10s, 250ms, 2m, 1h or PT10S."
    )


def test_all_wrong_values_are_named_at_once() -> None:
    text = refusal({"COORDINATOR_DISPATCH_BATCH": "many"}, flags={"log_format": "xml"})

    assert "dispatch_batch = 'many'" in text
    assert "log_format = 'xml' (flag --log-format)" in text


@pytest.mark.parametrize(
    "name", sorted(RELOADABLE - {"dispatch_batch", "hush_above", "log_level", "log_content"})
)
@pytest.mark.parametrize("span", ["0s", "1ms", "8d"])
def test_a_time_out_of_range_is_refused(name: str, span: str) -> None:
    assert f"{name} = '{span}' (flag --{name.replace('_', '-')}): must be from 10ms to 7d" in (
        refusal({}, flags={name: span})
    )


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"stale_after": "20s"}, "stale_after (20s) must be at least 3 x heartbeat_interval (10s)"),
        ({"take_back_after": "30s"}, "take_back_after (30s) must not be shorter than"),
        ({"sweep_interval": "10s", "leader_stale_after": "1m"}, "sweep_interval (10s) must be"),
        ({"leader_stale_after": "4s"}, "leader_stale_after (4s) must be at least"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    flags: dict[str, object], reason: str
) -> None:
    assert reason in refusal({}, flags=flags)


def test_every_contradiction_is_named_at_once() -> None:
    text = refusal({}, flags={"stale_after": "20s", "take_back_after": "10s"})

    assert "3 x heartbeat_interval" in text
    assert "take_back_after (10s)" in text


@pytest.mark.parametrize("address", ["8787", "localhost", ":8787", "host:99999", "host:x", ""])
def test_an_address_without_host_and_port_is_refused(address: str) -> None:
    assert "host:port" in refusal({}, flags={"health_tcp": address})


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:8787", ("127.0.0.1", 8787)),
        ("[::1]:0", ("::1", 0)),
        ("off", None),
    ],
)
def test_the_health_address_is_host_and_port(address: str, parts: tuple[str, int] | None) -> None:
    assert Settings(health_tcp=address).health_address == parts


def test_the_particular_source_of_the_dsn_wins(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://credential\n")
    (tmp_path / "other").write_text("postgresql://file\n")
    file = a_file(tmp_path, 'dsn = "postgresql://toml"')
    sources = {
        "COORDINATOR_DSN_FILE": str(tmp_path / "other"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "DATABASE_URL": "postgresql://url",
    }
    found = []

    while sources:
        found.append(dsn(Settings.load(sources, file=file)))
        del sources[next(iter(sources))]
    found.append(dsn(Settings.load({}, file=file)))

    assert found == [
        "postgresql://file",
        "postgresql://credential",
        "postgresql://url",
        "postgresql://toml",
    ]


def test_the_origin_of_a_dsn_from_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    file = a_file(tmp_path, 'dsn_file = "secret"')

    settings = Settings.load({}, file=file)

    assert dsn(settings) == SECRET
    assert settings.origins["dsn"] == f"file {tmp_path / 'secret'}, named by file {file}: dsn_file"


def test_a_credentials_directory_without_a_dsn_is_no_error(tmp_path: Path) -> None:
    assert Settings.load({"CREDENTIALS_DIRECTORY": str(tmp_path)}).dsn is None


def test_a_dsn_given_twice_in_one_place_is_refused(tmp_path: Path) -> None:
    environ = {"COORDINATOR_DSN": SECRET, "COORDINATOR_DSN_FILE": str(tmp_path)}

    text = refusal(environ)

    assert "given twice, as env COORDINATOR_DSN and as env COORDINATOR_DSN_FILE" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b" \n", "is empty"), (b"\xff\xfe", "it is not text")],
)
def test_an_unreadable_secret_is_refused_by_path(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)

    text = refusal({"COORDINATOR_DSN_FILE": str(path)})

    assert str(path) in text
    assert reason in text


def test_a_missing_file_is_refused_by_path(tmp_path: Path) -> None:
    assert str(tmp_path / "absent.toml") in refusal({}, file=tmp_path / "absent.toml")


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    text = refusal({}, file=a_file(tmp_path, "stale_after = 60\nstale after = 1\n"))

    assert "is not TOML" in text
    assert "line 2" in text


def test_the_dsn_is_in_no_description_and_no_error(tmp_path: Path) -> None:
    settings = Settings.load({"COORDINATOR_DSN": SECRET})
    error = refusal({"COORDINATOR_DSN": SECRET, "COORDINATOR_DISPATCH_BATCH": "x"})
    wrong_type = refusal({}, file=a_file(tmp_path, 'dsn = ["hunter2"]'))

    assert "hunter2" not in f"{settings!r} {settings.describe()} {error} {wrong_type}"


def test_each_setting_is_described_with_value_and_origin() -> None:
    described = {line.name: line for line in Settings.load({"DATABASE_URL": SECRET}).describe()}

    assert set(described) == set(Settings.model_fields)
    assert all(line.meaning for line in described.values())
    assert described["dsn"].value == "**********"
    assert described["dsn"].origin == "env DATABASE_URL"
    assert described["stale_after"].value == "45s"
    assert described["sweep_interval"].value == "2500ms"
    assert described["log_content"].value == "false"
    assert described["health_socket"].value == ""


def test_settings_are_frozen() -> None:
    settings = Settings()

    with pytest.raises(ValidationError):
        settings.dispatch_batch = 9  # type: ignore[misc]


def test_a_reload_tells_what_holds_and_what_waits_for_a_restart() -> None:
    new = Settings(log_level=Level.DEBUG, safety_poll=timedelta(seconds=1), health_tcp="off")

    assert changes(Settings(), new) == Changes(("safety_poll", "log_level"), ("health_tcp",))


def test_where_a_value_came_from_is_no_change() -> None:
    new = Settings.load({"COORDINATOR_DISPATCH_BATCH": "1000"})

    assert changes(Settings(), new) == Changes((), ())


def test_what_can_be_reloaded_are_settings() -> None:
    assert set(Settings.model_fields) > RELOADABLE


def test_the_committed_page_of_settings_is_the_generated_one() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    assert committed == page(), "run: python -m coordinator.config.page > docs/configuration.md"


def test_a_credential_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even root may not, in this test: what systemd 252 lets a unit's ExecReload see."""

    def denied(path: Path, *_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", denied)
    monkeypatch.setattr(Path, "read_text", denied)

    with pytest.raises(ConfigError, match=r"cannot be read.*Permission denied"):
        Settings.load({"CREDENTIALS_DIRECTORY": str(tmp_path)})
