"""`docs/configuration.md`, made from the settings: `python -m coordinator.config.page`."""

import sys
from collections.abc import Iterator

from coordinator.config.settings import RELOADABLE, Settings, environment_variable

_HEAD = """\
# Configuration

<!-- Made by `python -m coordinator.config.page`; do not edit. -->

A value is taken from the first of these that has one: a flag of the command (`--stale-after 1m`),
the environment (`COORDINATOR_STALE_AFTER=1m`), the TOML file (`stale_after = "1m"`), the default.
The file is the one named by `--config`, else by `COORDINATOR_CONFIG`; without either there is none.
An empty variable counts as not set. An unknown key, anywhere, is an error and names the key.
`coordinator config show --origin` tells each value and where it was written.

Durations are written `10s`, `250ms`, `2m`, `1h30m`, `PT10S`, or as a number of seconds, and lie
between 10ms and 7d.

The DSN may also come from a file, so that it is in no environment: in order, `COORDINATOR_DSN` or
`COORDINATOR_DSN_FILE` (a path), the systemd credential `dsn` (`LoadCredential=dsn:…`),
`DATABASE_URL`; in the TOML file, `dsn` or `dsn_file` (a path, relative to the file).

A DSN without `sslmode` reaches this machine as it can, and any other one only by TLS and with its
certificate verified in full; [security.md](security.md#tls) tells how to change that.

"""

_TAIL = """
What must hold between settings:

- `stale_after` is at least 3 x `heartbeat_interval`: two lost heartbeats block nobody.
- `take_back_after` is not shorter than `stale_after`: only stale agents lose their work.
- `sweep_interval` is shorter than `heartbeat_interval`: a longer gap grants an amnesty every time.
- `leader_stale_after` is at least 2 x `sweep_interval`: a healthy leader is left alone.

A setting marked *reload* takes effect at SIGHUP (`systemctl reload coordinator`); the others wait
for a restart, and the event `daemon.reloaded` names them. A configuration with an error is
refused at SIGHUP, and the old one stays in force.
"""


def page() -> str:
    """Return the whole reference page."""
    head = "| Setting | Variable | Default | Meaning | |\n|---|---|---|---|---|\n"
    return _HEAD + head + "".join(_rows()) + _TAIL


def _rows() -> Iterator[str]:
    for setting in Settings().describe():
        default = f"`{setting.value}`" if setting.value else "none"
        reload = "reload" if setting.name in RELOADABLE else "restart"
        variable = environment_variable(setting.name)
        yield f"| `{setting.name}` | `{variable}` | {default} | {setting.meaning} | {reload} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
