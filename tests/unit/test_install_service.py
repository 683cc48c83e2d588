"""`coordinator install-service`: what it writes, what it keeps, and what it never shows."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from coordinator.cli import service
from coordinator.cli.service import install_service, reload
from coordinator.core.errors import ConfigError, CoordinatorError, ExitCode

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = "/opt/coordinator/bin/coordinator"
PASSWORD = "planted-password-3308"
DSN = f"postgresql://somebody:{PASSWORD}@db.example.org/work"
OTHER_DSN = f"postgresql://somebody:{PASSWORD}-2@db.example.org/work"

Install = Callable[..., Result]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install below `tmp_path`, with an environment that names no database."""
    for name in os.environ:
        if name == "DATABASE_URL" or name.startswith("COORDINATOR_"):
            monkeypatch.delenv(name)

    def run(*arguments: str, dsn: str | None = DSN, prefix: Path | None = tmp_path) -> Result:
        options = [*arguments, "--program", PROGRAM]
        options += ["--prefix", str(prefix)] if prefix else []
        options += ["--dsn-file", "-"] if dsn is not None else []
        return CliRunner().invoke(install_service, options, input=dsn, standalone_mode=False)

    return run


def test_unit_credential_settings_and_group_are_written(install: Install, tmp_path: Path) -> None:
    install()

    assert modes(tmp_path) == {
        "etc/coordinator/coordinator.dsn": 0o600,
        "etc/coordinator/coordinator.toml": 0o644,
        "etc/systemd/system/coordinator.service": 0o644,
        "etc/sysusers.d/coordinator-health.conf": 0o644,
    }
    etc = tmp_path / "etc"
    assert (etc / "coordinator/coordinator.dsn").read_text() == f"{DSN}\n"
    written = (etc / "systemd/system/coordinator.service").read_text()
    assert written == (DEPLOY / "coordinator.service").read_text()


def test_the_modes_do_not_hang_on_the_umask(install: Install, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        install()
    finally:
        os.umask(before)

    assert modes(tmp_path)["etc/coordinator/coordinator.toml"] == 0o644
    assert stat.S_IMODE((tmp_path / "etc/coordinator").stat().st_mode) == 0o755


def test_an_instance_has_a_credential_and_settings_of_its_own(
    install: Install, tmp_path: Path
) -> None:
    install()
    install("--name", "orders", dsn=OTHER_DSN)

    written = modes(tmp_path)
    assert written["etc/coordinator/orders.dsn"] == 0o600
    assert "etc/coordinator/orders.toml" in written
    assert "etc/systemd/system/coordinator@.service" in written
    assert (tmp_path / "etc/coordinator/coordinator.dsn").read_text() == f"{DSN}\n"


def test_again_changes_nothing(install: Install, tmp_path: Path) -> None:
    install()
    before = content(tmp_path)

    again = told(install("--json"))

    assert content(tmp_path) == before
    assert {file["deed"] for file in again["files"]} == {"unchanged", "kept"}


def test_an_upgrade_keeps_credential_and_settings_and_replaces_the_unit(
    install: Install, tmp_path: Path
) -> None:
    install()
    unit = tmp_path / "etc/systemd/system/coordinator.service"
    settings = tmp_path / "etc/coordinator/coordinator.toml"
    unit.write_text("the unit of an older release\n")
    settings.write_text('stale_after = "1m"\n')

    install(dsn=None)

    assert unit.read_text() == (DEPLOY / "coordinator.service").read_text()
    assert settings.read_text() == 'stale_after = "1m"\n'
    assert (tmp_path / "etc/coordinator/coordinator.dsn").read_text() == f"{DSN}\n"


def test_a_new_dsn_replaces_the_credential(install: Install, tmp_path: Path) -> None:
    install()

    install(dsn=OTHER_DSN)

    assert (tmp_path / "etc/coordinator/coordinator.dsn").read_text() == f"{OTHER_DSN}\n"
    assert modes(tmp_path)["etc/coordinator/coordinator.dsn"] == 0o600


def test_a_credential_that_others_could_read_is_closed(install: Install, tmp_path: Path) -> None:
    install()
    credential = tmp_path / "etc/coordinator/coordinator.dsn"
    credential.chmod(0o644)

    install(dsn=None)

    assert modes(tmp_path)["etc/coordinator/coordinator.dsn"] == 0o600


def test_a_link_is_replaced_and_not_followed(install: Install, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    credential = tmp_path / "etc/coordinator/coordinator.dsn"
    credential.parent.mkdir(parents=True)
    credential.symlink_to(elsewhere)

    install()

    assert elsewhere.read_text() == "precious"
    assert not credential.is_symlink()


def test_a_dry_run_shows_all_but_the_dsn_and_writes_nothing(
    install: Install, tmp_path: Path
) -> None:
    shown = install("--dry-run").output
    as_json = told(install("--dry-run", "--json"))

    assert content(tmp_path) == {}
    assert (DEPLOY / "coordinator.service").read_text() in shown
    assert "coordinator.dsn (0600)" in shown
    assert PASSWORD not in shown
    assert PASSWORD not in json.dumps(as_json)


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=str)
def test_the_dsn_is_never_shown(install: Install, arguments: list[str]) -> None:
    assert PASSWORD not in install(*arguments).output


def test_the_dsn_may_come_from_the_environment(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", DSN)

    install(dsn=None)

    assert (tmp_path / "etc/coordinator/coordinator.dsn").read_text() == f"{DSN}\n"


@pytest.mark.parametrize("dsn", ["", "postgresql://me:hunter2@localhost:port/db", "nonsense"])
def test_what_is_no_dsn_is_refused_before_anything_is_written(
    install: Install, tmp_path: Path, dsn: str
) -> None:
    refused = install(dsn=dsn)

    assert isinstance(refused.exception, ConfigError)
    assert "hunter2" not in str(refused.exception)
    assert content(tmp_path) == {}


def test_without_a_dsn_there_is_nothing_to_install(install: Install, tmp_path: Path) -> None:
    assert "no database is named" in str(install(dsn=None).exception)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("name", ["coordinator", "a/b", "", "-x", "a b", "%i", "x" * 51])
def test_a_name_that_is_no_instances_is_refused(install: Install, name: str) -> None:
    assert isinstance(install("--name", name).exception, click.UsageError)


@pytest.mark.parametrize("group", ["coordinator", "Upper", "a b", "", "x\nUser=root"])
def test_a_name_that_is_no_groups_is_refused(install: Install, group: str) -> None:
    assert isinstance(install("--group", group).exception, click.UsageError)


def test_the_group_is_the_operators_choice(install: Install, tmp_path: Path) -> None:
    install("--group", "monitoring")

    unit = (tmp_path / "etc/systemd/system/coordinator.service").read_text()
    assert "\nGroup=monitoring\n" in unit
    assert (tmp_path / "etc/sysusers.d/monitoring.conf").read_text() == "g monitoring -\n"


def test_only_root_installs_on_the_machine_itself(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(service, "_put", lambda _: pytest.fail("it wrote"))

    refused = install(prefix=None)

    assert isinstance(refused.exception, click.UsageError)
    assert "only root" in str(refused.exception)


@pytest.mark.parametrize("where", ["/home/ada/venv", "/root/venv", "/tmp/venv"])
def test_a_program_that_the_sandbox_hides_is_refused(where: str) -> None:
    with pytest.raises(ConfigError, match="could not run"):
        service._check_visible(Path(where))


def test_a_program_that_only_its_owner_reaches_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_HIDDEN", ())
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "coordinator"
    program.touch(mode=0o755)

    with pytest.raises(ConfigError, match="others may not enter"):
        service._check_visible(program)


def test_the_template_differs_from_the_unit_in_names_alone() -> None:
    unit, template = (
        set((DEPLOY / name).read_text().partition("[Unit]")[2].splitlines())
        for name in ("coordinator.service", "coordinator@.service")
    )

    assert unit - template == {
        "Description=Coordinator, hands work between AI agents",
        "Environment=COORDINATOR_CONFIG=/etc/coordinator/coordinator.toml",
        "Environment=COORDINATOR_HEALTH_SOCKET=%t/coordinator/health.sock",
        "LoadCredential=dsn:/etc/coordinator/coordinator.dsn",
        "RuntimeDirectory=coordinator",
    }
    assert template - unit == {
        "Description=Coordinator for %i, hands work between AI agents",
        "Environment=COORDINATOR_CONFIG=/etc/coordinator/%i.toml",
        "Environment=COORDINATOR_HEALTH_SOCKET=%t/coordinator-%i/health.sock",
        "Environment=COORDINATOR_HEALTH_TCP=off",
        "LoadCredential=dsn:/etc/coordinator/%i.dsn",
        "RuntimeDirectory=coordinator-%i",
    }


# --- reload ---------------------------------------------------------------------------------------


def test_a_reload_sends_the_signal() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        CliRunner().invoke(reload, ["--pid", str(process.pid)], standalone_mode=False)

        assert process.wait(timeout=10) == -1


def test_a_reload_of_a_wrong_configuration_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it sent a signal"))
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("stale_aftr = 1\n")

    arguments = ["--pid", "12345", "--config", str(wrong)]
    refused = CliRunner().invoke(reload, arguments, standalone_mode=False).exception

    assert isinstance(refused, ConfigError)
    assert "stale_after" in str(refused)


def test_a_reload_does_not_need_the_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ExecReload of systemd 252 is told where it is, and may not enter the folder."""
    (tmp_path / "dsn").write_text("")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: sent.append(pid))

    CliRunner().invoke(reload, [], env={"MAINPID": "12345"}, standalone_mode=False)

    assert sent == [12345]


def test_a_reload_of_nobody_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()

    refused = CliRunner().invoke(reload, ["--pid", str(ended.pid)], standalone_mode=False).exception

    assert isinstance(refused, CoordinatorError)
    assert refused.exit_code is ExitCode.UNAVAILABLE


# --- looks ----------------------------------------------------------------------------------------


def content(root: Path) -> dict[str, tuple[int, float, bytes]]:
    """Every file with what tells whether it was touched."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def modes(root: Path) -> dict[str, int]:
    return {name: stat.S_IMODE((root / name).stat().st_mode) for name in content(root)}


def told(result: Result) -> dict[str, list[dict[str, str]]]:
    """The JSON document of a command that succeeded."""
    assert result.exception is None, result.output
    document: dict[str, list[dict[str, str]]] = json.loads(result.stdout)
    return document
