"""Writes several files, all or none as far as an operating system lets one.

What can fail is done first, beside the files: folders, contents, modes, owners. Then each file is
looked at once more, and takes its new content by a rename. A link is followed: what it leads to is
replaced, and the link stays.
"""

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from coordinator.core.errors import ConfigError

_SECRET = 0o600
_NOTHING_WRITTEN = "Nothing was written."


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one file."""

    path: Path
    before: bytes | None
    """None where there is no file."""
    after: bytes | None
    """None where there is to be no file."""
    is_private: bool = False
    """Whether a new file is for its owner alone, as where clients keep secrets in it."""


def content(path: Path) -> bytes | None:
    """Return what is in a file, None if there is none; raise ConfigError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path} cannot be read", _why(error), _NOTHING_WRITTEN) from None


def missing_folders(path: Path) -> tuple[str, ...]:
    """Return the folders that must be made for a file, the innermost first."""
    return tuple(str(folder) for folder in path.parents if not folder.exists())


def write(changes: Sequence[Change], *, then_remove: Sequence[str] = ()) -> None:
    """Make all changes, then remove these folders if they are empty.

    Raises ConfigError, and then nothing has changed.
    """
    done: list[_Prepared] = []
    with _prepared(changes) as prepared:
        for each in prepared:
            each.check()
        try:
            for each in prepared:
                each.put()
                done.append(each)
        except OSError as error:
            for earlier in reversed(done):
                earlier.take_back()
            raise ConfigError(
                f"{each.change.path} cannot be written",
                _why(error),
                "What was written before it has been put back.",
            ) from None
    for folder in then_remove:
        # Somebody may have put something into it.
        with suppress(OSError):
            Path(folder).rmdir()


@dataclass(slots=True)
class _Prepared:
    """A change with its new content beside the file, ready to take its place."""

    change: Change
    target: Path
    beside: Path | None
    mode: int
    """The old file's."""

    def check(self) -> None:
        if content(self.target) != self.change.before:
            raise ConfigError(
                f"{self.change.path} has just been changed by somebody else",
                None,
                f"{_NOTHING_WRITTEN} Try again.",
            )

    def put(self) -> None:
        if self.beside is None:
            self.target.unlink()
        else:
            self.beside.replace(self.target)
            self.beside = None

    def take_back(self) -> None:
        # As good as it gets: what has been put can hardly be refused now.
        with suppress(OSError):
            if self.change.before is None:
                self.target.unlink()
            else:
                descriptor = os.open(self.target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _SECRET)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self.change.before)
                    os.fchmod(file.fileno(), self.mode)


@contextmanager
def _prepared(changes: Sequence[Change]) -> Iterator[list[_Prepared]]:
    made: list[Path] = []
    prepared: list[_Prepared] = []
    try:
        for change in changes:
            try:
                target = change.path.resolve()
                made += _make_folder(target.parent)
                beside = None if change.after is None else _write_beside(target, change)
            except (OSError, RuntimeError) as error:
                raise ConfigError(
                    f"{change.path} cannot be written", _why(error), _NOTHING_WRITTEN
                ) from None
            mode = target.stat().st_mode if target.exists() else _SECRET
            prepared.append(_Prepared(change, target, beside, stat.S_IMODE(mode)))
        yield prepared
    finally:
        for each in prepared:
            if each.beside:
                each.beside.unlink(missing_ok=True)
        for folder in reversed(made):
            # One that is in use by now stays.
            with suppress(OSError):
                folder.rmdir()


def _make_folder(folder: Path) -> list[Path]:
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _write_beside(target: Path, change: Change) -> Path:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(change.after or b"")
            _take_over(file.fileno(), target, is_private=change.is_private)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def _take_over(descriptor: int, target: Path, *, is_private: bool) -> None:
    """Give the new file the old one's owner and mode."""
    try:
        old = target.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, _SECRET if is_private else 0o666 & ~_umask())
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
