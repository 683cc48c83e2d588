"""The URL that is called: read once, checked, and never shown in full: its path may be secret."""

from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from coordinator.core.errors import ConfigError
from coordinator.core.hidden import Hidden

_PORTS = {"https": 443, "http": 80}
_LONGEST = 8000


@dataclass(frozen=True, slots=True)
class Target:
    """Where to POST; `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme == "https"

    @property
    def origin(self) -> str:
        """The part that may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Read a URL; raise ConfigError for one that cannot be called as it stands."""
        parts, port = _split(url)
        if parts.scheme not in _PORTS:
            _refuse("it begins with neither https:// nor http://")
        if "@" in parts.netloc:
            _refuse("it holds a user or a password, which a log could show")
        if parts.fragment:
            _refuse("it has a fragment (#), which is never sent")
        if not parts.hostname:
            _refuse("it names no host")
        path = Hidden((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def _split(url: str) -> tuple[SplitResult, int | None]:
    # urlsplit drops tabs and line ends, and takes what servers and proxies read in other ways.
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        _refuse("it holds a character that must be written as %.. (a host: as xn--...)")
    if len(url) > _LONGEST:
        _refuse(f"it is longer than {_LONGEST} characters")
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        _refuse("its host or its port cannot be read")


def _refuse(why: str) -> NoReturn:
    raise ConfigError(
        "the URL of the webhook cannot be called",
        why,
        "Write --url https://host/path, or set COORDINATOR_WEBHOOK_URL.",
    )
