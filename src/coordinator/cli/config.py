"""The commands `config show` and `config schema`."""

import click

from coordinator.cli.common import Common, common_options, json_option
from coordinator.cli.output import say, say_json
from coordinator.cli.settings_options import SettingsCommand
from coordinator.core.errors import ExitCode


@click.group(no_args_is_help=False)
def config() -> None:
    """Look at the configuration."""


@config.command(cls=SettingsCommand)
@click.option("--origin", is_flag=True, help="Also say where each value was written.")
@common_options
def show(common: Common, *, origin: bool, **flags: object) -> int:
    """Show every setting as the daemon would see it; secrets are hidden.

    A value comes from a flag, else the environment, else the TOML file, else the default.
    """
    from coordinator.operate.table import columns

    told = [
        {
            "name": setting.name,
            "value": setting.value,
            "origin": _origin(setting.name, setting.origin, common),
            "meaning": setting.meaning,
        }
        for setting in common.settings(flags).describe()
    ]
    if common.as_json:
        say_json({"settings": told})
        return ExitCode.OK
    shown = ("name", "value", "origin") if origin else ("name", "value")
    rows = [[setting[column] or "-" for column in shown] for setting in told]
    say(columns([column.upper() for column in shown], rows))
    return ExitCode.OK


_SCHEMA_EXAMPLES = """\b
Examples:
  coordinator config schema > coordinator.schema.json
"""


@config.command(epilog=_SCHEMA_EXAMPLES)
@json_option
def schema(*, as_json: bool) -> int:
    """Print the JSON schema of the TOML file, for editors and for checks before a deployment.

    It is JSON with and without `--json`. Editors find it by the first line of the TOML file:
    `#:schema ./coordinator.schema.json`.
    """
    from coordinator.config.schema import text

    say(text().rstrip("\n"))
    return ExitCode.OK


def _origin(name: str, origin: str, common: Common) -> str:
    if name == "dsn" and common.dsn_file:
        return f"file {common.dsn_file}, named by flag --dsn-file"
    return origin
