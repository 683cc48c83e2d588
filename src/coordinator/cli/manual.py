"""`docs/coordinator.1`, made from the commands: `python -m coordinator.cli.manual`.

It is written in the macros of man(7), which groff and mandoc read alike. A line that begins with a
full stop or an apostrophe would be a request, a bare hyphen may be typeset as a dash, and what is
not ASCII is read by some as Latin-1: all are escaped, so that options can be copied from the page.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator

import click

from coordinator import __version__
from coordinator.cli.app import coordinator
from coordinator.cli.described import every_command, example_lines, options, usage
from coordinator.cli.page import page as reference_page
from coordinator.config import Settings
from coordinator.config.settings import environment_variable

_SIGNALS = {
    "SIGTERM, SIGINT": "Drain: running passes end, and the daemon ends with 0 within drain_grace.",
    "SIGHUP": "Read the configuration again; a wrong one is refused, and the old one stays.",
}
_VARIABLES = {
    "DATABASE_URL": "The database, as postgresql://user:password@host:port/database.",
    "COORDINATOR_CONFIG": "The TOML file with settings, where --config names none.",
    "COORDINATOR_DSN_FILE": "A file that holds the DSN, so that no environment does.",
    "COORDINATOR_DEBUG": "Shows the traceback of an error, if it is set.",
    "NO_COLOR": "Keeps colour from the terminal, if it is set.",
}
_ESCAPES = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti", "`": None, "…": "..."}
)


def manual() -> str:
    """Return the whole manual page."""
    root = click.Context(coordinator, info_name="coordinator")
    sections = [
        f'.TH COORDINATOR 1 "" "agent\\-coordinator {__version__}" "User Commands"\n',
        _section("NAME", f"coordinator {_escaped('-')} {_text(_summary(coordinator))}\n"),
        _section("SYNOPSIS", _synopsis()),
        _section("DESCRIPTION", _paragraphs(coordinator.help)),
        _section("COMMANDS", "".join(_command(*each) for each in every_command(root, coordinator))),
        _section("EXIT STATUS", _terms(_exit_codes())),
        _section("ENVIRONMENT", _terms([*_VARIABLES.items(), *_settings()])),
        _section("SIGNALS", _terms(_SIGNALS.items())),
    ]
    return "".join(sections)


def _section(title: str, body: str) -> str:
    return f".SH {title}\n{body}"


def _synopsis() -> str:
    return (
        ".B coordinator\n.RI [ options ]\n.I command\n.RI [ arguments ]\n.br\n"
        ".B coordinator \\-\\-version\n.br\n.B coordinator\n.I command\n.B \\-\\-help\n"
    )


def _command(context: click.Context, command: click.Command) -> str:
    parts = [
        f".SS {_escaped(usage(context, command))}\n",
        _paragraphs(command.help),
        _terms(options(context, command)),
        _examples(command),
    ]
    return "".join(parts)


def _examples(command: click.Command) -> str:
    lines = example_lines(command)
    if not lines:
        return ""
    return ".PP\nExamples:\n.PP\n.nf\n" + "".join(map(_line, lines)) + ".fi\n"


def _exit_codes() -> list[tuple[str, str]]:
    """As the reference page has them."""
    return re.findall(r"^\| (\d+) \| (.*) \|$", reference_page(), re.MULTILINE)


def _settings() -> Iterator[tuple[str, str]]:
    for setting in Settings().describe():
        default = f" (default: {setting.value})" if setting.value else ""
        yield environment_variable(setting.name), f"{setting.meaning}{default}"


def _terms(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f".TP\n\\fB{_escaped(term)}\\fR\n{_line(meaning)}" for term, meaning in pairs)


def _paragraphs(help_: str | None) -> str:
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(help_ or ""))
    return ".PP\n".join(_line(" ".join(paragraph.split())) for paragraph in paragraphs)


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=200).rstrip(".")


def _text(text: str) -> str:
    return _escaped(text[:1].lower() + text[1:])


def _line(text: str) -> str:
    return f"{_escaped(text)}\n"


def _escaped(text: str) -> str:
    plain = re.sub(
        r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text.strip().translate(_ESCAPES)
    )
    return f"\\&{plain}" if plain.startswith(".") else plain


if __name__ == "__main__":
    sys.stdout.write(manual())
