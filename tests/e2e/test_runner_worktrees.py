"""`coordinator agent run --worktree`: a folder and a branch for each attempt."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.daemon.daemons import leader
from tests.support.commands import ended
from tests.support.postgres import Database
from tests.support.runner import python, runner
from tests.support.sdk import desk_at

OBEY = python(
    "import json, os, subprocess, sys\n"
    "exec(json.load(open(os.environ['COORDINATOR_CONTEXT_FILE']))['task_description'])\n"
)
COMMIT = (
    "open('new', 'w').close(); "
    "subprocess.run('git add new && git commit -qm new', shell=True, check=True); "
    "print(json.dumps(os.getcwd()))"
)
WHO = {
    f"GIT_{part}_{kind}": "ada@example.org"
    for part in ("AUTHOR", "COMMITTER")
    for kind in ("NAME", "EMAIL")
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=os.environ | WHO,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, and a folder `part` in it."""
    folder = tmp_path / "my project"
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "file").touch()
    (folder / ".gitignore").write_text("ignored\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "begin")
    return folder


async def test_each_attempt_has_a_worktree_which_is_kept_if_something_came_of_it(
    database: Database, repository: Path
) -> None:
    base = git(repository, "rev-parse", "HEAD")
    options = ("--worktree", "--cwd", str(repository / "part"))
    async with (
        leader(database),
        desk_at(database) as desk,
        runner(database, *options, command=OBEY, env={**WHO, "GIT_DIR": "/no/such"}),
    ):
        idle = await desk.put(task="open('../ignored', 'w').close(); print('\"looked\"')")
        working = await desk.put(task=COMMIT)
        untidy = await desk.put(task="open('file', 'w').write('x'); sys.exit('half done')")
        looked, worked, failed = [
            await desk.reaches(handoff_id, status="completed")
            for handoff_id in (idle, working, untidy)
        ]

    gone = {"kept": False, "path": None, "branch": None, "commit": base, "base": base}
    assert looked["result"] == {"result": "looked", "worktree": gone}

    tree = worked["result"]["worktree"]
    name = f"{str(worked['id'])[:8]}-1"
    path = repository.with_name("my project.worktrees") / name
    assert worked["result"]["result"] == str(path / "part")
    assert (tree["path"], tree["branch"]) == (str(path), f"handoff/{name}")
    assert tree["commit"] == git(path, "rev-parse", "HEAD") != base
    assert git(repository, "rev-parse", f"handoff/{name}^") == base

    assert (failed["outcome"], failed["last_error"]) == ("failed", "exit code 1: half done")
    left = failed["result"]["worktree"]
    assert (left["kept"], left["commit"]) == (True, base)
    assert (Path(left["path"]) / "part" / "file").read_text() == "x"

    assert len(list(path.parent.iterdir())) == 2
    assert len(git(repository, "branch", "--list").splitlines()) == 3
    assert git(repository, "status", "--porcelain") == ""


async def test_a_worktree_that_git_refuses_fails_the_attempt_by_its_reason(
    database: Database, repository: Path
) -> None:
    repository.with_name("my project.worktrees").write_text("in the way")
    async with (
        leader(database),
        desk_at(database) as desk,
        runner(database, "--worktree", command=OBEY, cwd=repository),
    ):
        row = await desk.reaches(await desk.put(max_attempts=1), outcome="failed")

    assert row["last_error"].startswith("git worktree add failed. ")


@pytest.mark.parametrize("begin", [(), ("init", "--quiet"), ("init", "--quiet", "--bare")])
async def test_a_place_without_a_commit_is_refused(
    database: Database, tmp_path: Path, begin: tuple[str, ...]
) -> None:
    if begin:
        git(tmp_path, *begin)

    refused = await ended(
        "agent", "run", "--name", "ada", "--worktree", "--", "true", on=database, cwd=tmp_path
    )

    assert refused.code == 64
    assert "needs a git repository with a commit" in refused.err
