"""Under the journal each line says how grave it is; elsewhere none does."""

import os
from pathlib import Path

import pytest

from coordinator.cli.output import alarm, goes_to_journal
from coordinator.core.events import ConfigRejected, DaemonStopped, Level, StoreLost
from coordinator.telemetry import configure


@pytest.mark.parametrize("priorities", [True, False])
def test_a_line_begins_with_its_priority_where_the_journal_reads(
    tmp_path: Path, priorities: bool
) -> None:
    with (tmp_path / "log").open("w") as stream:
        telemetry = configure(
            format="json",
            level=Level.INFO,
            stream=stream,
            service_version="1",
            instance="here",
            priorities=priorities,
        )
        for event in (DaemonStopped(1.0), StoreLost("gone"), ConfigRejected("wrong")):
            telemetry.emit(event)
        telemetry.close()

    lines = (tmp_path / "log").read_text().splitlines()
    begins = ["<6>{", "<4>{", "<3>{"] if priorities else ["{"] * 3
    assert [line[: len(begin)] for line, begin in zip(lines, begins, strict=True)] == begins


def test_the_journal_is_known_by_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "other").open("w") as other:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

        assert goes_to_journal(journal)
        assert not goes_to_journal(other)


def test_without_a_journal_words_of_an_error_are_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)

    alarm("error: it broke\n       in two")

    assert capsys.readouterr().err == "error: it broke\n       in two\n"


def test_every_line_of_an_error_is_one_for_the_journal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("coordinator.cli.output.goes_to_journal", lambda _: True)

    alarm("error: it broke\n       in two")

    assert capsys.readouterr().err == "<3>error: it broke\n<3>       in two\n"
