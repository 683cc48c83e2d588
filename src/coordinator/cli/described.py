"""The commands as their two pages tell of them: the reference page and the manual page."""

from collections.abc import Iterator

import click


def every_command(
    parent: click.Context, group: click.Group
) -> Iterator[tuple[click.Context, click.Command]]:
    """Yield all commands that do something, in their order, those of groups in their place."""
    for name, command in group.commands.items():
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from every_command(context, command)
        else:
            yield context, command


def usage(context: click.Context, command: click.Command) -> str:
    """Return the command's path and its arguments."""
    arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
    return " ".join([context.command_path, *arguments])


def example_lines(command: click.Command) -> list[str]:
    """Return the lines below the word Examples."""
    return (command.epilog or "").splitlines()[2:]


def options(context: click.Context, command: click.Command) -> Iterator[tuple[str, str]]:
    """Yield the flags of each option with their meaning, without --help."""
    for option in command.get_params(context):
        if isinstance(option, click.Option) and "--help" not in option.opts:
            record = option.get_help_record(context)
            if record is not None:
                yield record
