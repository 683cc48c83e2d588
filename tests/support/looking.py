"""What others can see of a process of ours: its arguments, and what its health socket answers."""

from pathlib import Path

import anyio

from tests.support.processes import RunningProcess

PAGES = ("/livez?verbose", "/readyz?verbose", "/startupz", "/metrics", "/status", "/nowhere")


async def health_pages(daemon: RunningProcess) -> list[str]:
    """Everything that the daemon's health socket answers, headers included."""
    address: str = (await daemon.seen("health.listening"))["address"]
    host, _, port = address.rpartition(":")
    return [await _page(host, int(port), path) for path in PAGES]


def command_lines(pid: int) -> list[str]:
    """The arguments of a process and of all that come from it, as `ps` shows them."""
    parents = {
        int(folder.name): int(stat.rpartition(")")[2].split()[1])
        for folder in Path("/proc").glob("[0-9]*")
        if (stat := _told(folder / "stat"))
    }
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return [_told(Path(f"/proc/{member}/cmdline")).replace("\0", " ") for member in family]


def _told(file: Path) -> str:
    """The file of a process, which may end at any moment."""
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def _page(host: str, port: int, path: str) -> str:
    async with await anyio.connect_tcp(host, port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join([chunk async for chunk in stream]).decode()
