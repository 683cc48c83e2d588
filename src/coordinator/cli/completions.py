"""The command `completions`."""

import click
from click.shell_completion import get_completion_class

from coordinator.cli.output import say
from coordinator.core.errors import ExitCode

_VARIABLE = "_COORDINATOR_COMPLETE"


_EXAMPLES = """\b
Examples:
  coordinator completions bash > ~/.local/share/bash-completion/completions/coordinator
  coordinator completions zsh > "${fpath[1]}/_coordinator"
  coordinator completions fish > ~/.config/fish/completions/coordinator.fish
"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completions(ctx: click.Context, *, shell: str) -> int:
    """Print the completion script for a shell."""
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"click has no completions for {shell}")
    root = ctx.find_root().command
    # The words of the class's own source(); that one runs bash first, to ask its version.
    script = completion(root, {}, "coordinator", _VARIABLE)
    say(script.source_template % script.source_vars())
    return ExitCode.OK
