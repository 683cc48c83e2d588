"""Several files are written, or none of them."""

from pathlib import Path

import pytest

from coordinator.agents.clients.files import Change, write
from coordinator.core.errors import ConfigError

NOBODY_MAY_REMOVE_IT = Path("/proc/self/comm")


def test_where_the_last_cannot_be_done_the_others_are_put_back(tmp_path: Path) -> None:
    if not NOBODY_MAY_REMOVE_IT.exists():
        pytest.skip("there is no file here that even root may not remove")
    changed, new, gone = tmp_path / "changed", tmp_path / "folder" / "new", tmp_path / "gone"
    changed.write_bytes(b"old")
    gone.write_bytes(b"there")
    gone.chmod(0o640)
    changes = [
        Change(changed, b"old", b"new"),
        Change(new, None, b"new"),
        Change(gone, b"there", None),
        Change(NOBODY_MAY_REMOVE_IT, NOBODY_MAY_REMOVE_IT.read_bytes(), None),
    ]

    with pytest.raises(ConfigError, match=r"comm cannot be written.*has been put back"):
        write(changes)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "changed": b"old",
        "gone": b"there",
    }
    assert gone.stat().st_mode & 0o777 == 0o640


def test_nothing_is_left_beside_the_files(tmp_path: Path) -> None:
    file = tmp_path / "file"

    write([Change(file, None, b"one", is_private=True)])
    with pytest.raises(ConfigError, match="changed by somebody else"):
        write([Change(file, b"other", b"two")])

    assert list(tmp_path.iterdir()) == [file]
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"one", 0o600)


def test_a_folder_in_a_files_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        write([Change(tmp_path, None, b"new")])
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(ConfigError, match="Nothing was written"):
        write([Change(link, None, b"new")])
