"""Programs that a machine may have or lack."""

import shutil
import subprocess


def a_working(name: str) -> str | None:
    """The program on the PATH, if it also runs: Debian's psql is a wrapper that outlives psql."""
    found = shutil.which(name)
    if found is None or subprocess.run([found, "--version"], capture_output=True).returncode:
        return None
    return found
