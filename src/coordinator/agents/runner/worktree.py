"""A `git worktree` and a branch for each attempt, so that attempts do not meet in one folder.

They stand beside the repository, in `NAME.worktrees/ID-ATTEMPT`, on `handoff/ID-ATTEMPT`, and begin
at its HEAD. Where nothing came of the attempt both are removed; else both are kept, and belong to
whoever wants the work. What a killed runner leaves is listed by `git worktree list`.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from coordinator.core.errors import CoordinatorError, ExitCode
from coordinator.core.model import Json, Token

_GITS_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


class NoWorktrees(CoordinatorError):
    """This folder is no place for worktrees."""

    exit_code = ExitCode.USAGE


class WorktreeFailed(CoordinatorError):
    """Git refused; time or a person may help."""

    exit_code = ExitCode.TRY_AGAIN


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository that attempts work on."""

    root: Path
    inside: str
    """Where in it commands run, from its root."""
    environ: Mapping[str, str]

    @classmethod
    async def at(cls, folder: Path, environ: Mapping[str, str]) -> "Repository":
        """Find the repository of a folder; raise NoWorktrees where attempts cannot begin."""
        environ = {name: value for name, value in environ.items() if name not in _GITS_OWN}
        try:
            root = Path(await _git(folder, environ, "rev-parse", "--show-toplevel"))
            inside = await _git(folder, environ, "rev-parse", "--show-prefix")
            await _git(folder, environ, "rev-parse", "--verify", "HEAD^{commit}")
        except WorktreeFailed as failed:
            raise NoWorktrees(
                f"--worktree needs a git repository with a commit, and {folder} has none",
                failed.why,
                "Name one with --cwd, or leave --worktree out.",
            ) from None
        return cls(root, inside, environ)

    async def grow(self, token: Token) -> "Worktree":
        """Add an attempt's worktree; raise WorktreeFailed."""
        name = f"{str(token.handoff_id)[:8]}-{token.attempt}"
        base = await _git(self.root, self.environ, "rev-parse", "HEAD")
        path = self.root.with_name(f"{self.root.name}.worktrees") / name
        tree = Worktree(self, path, f"handoff/{name}", base)
        arguments = ("worktree", "add", "--quiet", "-b", tree.branch, str(path), base)
        try:
            await _git(self.root, self.environ, *arguments)
            tree.cwd.mkdir(parents=True, exist_ok=True)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await tree.remove(force=True)
            raise
        return tree


@dataclass(frozen=True, slots=True)
class Worktree:
    """One attempt's worktree."""

    repository: Repository
    path: Path
    branch: str
    base: str

    @property
    def cwd(self) -> Path:
        """Where the command runs."""
        return self.path / self.repository.inside

    @property
    def named(self) -> Json:
        """What tells where the work is, while it goes on."""
        return {"path": str(self.path), "branch": self.branch, "base": self.base}

    async def settle(self) -> Json:
        """Remove it if nothing changed, else keep it; return what a result says of it.

        Where git cannot tell, it is kept.
        """
        try:
            head = await self._git("rev-parse", "HEAD")
            tip = await self._git("rev-parse", f"refs/heads/{self.branch}")
            changes = await self._git("status", "--porcelain")
            kept = bool(changes) or {head, tip} != {self.base} or not await self.remove()
        except WorktreeFailed as failed:
            return {**self._told(kept=True, commit=None), "trouble": failed.why}
        return self._told(kept=kept, commit=head)

    async def remove(self, *, force: bool = False) -> bool:
        """Remove worktree and branch; whether that worked. Without `force` changes forbid it."""
        run, own = self.repository.root, self.repository.environ
        try:
            await _git(run, own, "worktree", "remove", *["--force"] * force, str(self.path))
            await _git(run, own, "branch", "--quiet", "-D", self.branch)
        except WorktreeFailed:
            return False
        return True

    def _told(self, *, kept: bool, commit: str | None) -> Json:
        return {
            "kept": kept,
            "path": str(self.path) if kept else None,
            "branch": self.branch if kept else None,
            "commit": commit,
            "base": self.base,
        }

    async def _git(self, *arguments: str) -> str:
        return await _git(self.path, self.repository.environ, *arguments)


async def _git(folder: Path, environ: Mapping[str, str], *arguments: str) -> str:
    # Another process may be at the index for a moment; a look must not wait for it, or lock it.
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = await anyio.run_process(
            command,
            check=False,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise WorktreeFailed(f"git cannot be run in {folder}", str(error)) from None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        raise WorktreeFailed(f"git {arguments[0]} {arguments[1]} failed", why)
    return done.stdout.decode(errors="surrogateescape").strip()
