"""A flag for each setting. They are made when a command needs them: the settings load slowly."""

import click

_SECRET = "dsn"  # noqa: S105 - the name of a setting; its value never stands in arguments


class SettingsCommand(click.Command):
    """A command that takes every setting but the DSN as a flag, such as `--stale-after 1m`."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the settings'."""
        return [*self.params, *_settings_options(), *super().get_params(ctx)[len(self.params) :]]


def _settings_options() -> list[click.Option]:
    from coordinator.config import Settings

    return [
        click.Option([_flag(name, annotation)], default=None, help=meaning)
        for name, annotation, meaning in (
            (name, field.annotation, field.description or "")
            for name, field in Settings.model_fields.items()
            if name != _SECRET
        )
    ]


def _flag(name: str, annotation: object) -> str:
    flag = f"--{name.replace('_', '-')}"
    return f"{flag}/--no-{flag[2:]}" if annotation is bool else flag
