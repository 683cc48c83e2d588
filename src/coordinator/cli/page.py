"""`docs/cli.md`, made from the commands: `python -m coordinator.cli.page`."""

import inspect
import sys
from collections.abc import Iterator

import click

from coordinator.cli.app import coordinator
from coordinator.cli.described import every_command, example_lines, options, usage

_HEAD = """\
# Commands

<!-- Made by `python -m coordinator.cli.page`; do not edit. -->

Data goes to stdout, words go to stderr. `--json` turns the data into one JSON document (`events`:
one object a line), and an error into `{"error": {"what", "why", "next", "exit_code", "code"}}` on
stderr. Keys are only ever added; an absent fact is `null`; times are RFC 3339 in UTC; names that
end in `_s` are seconds. Colour appears on a terminal only, and not with `NO_COLOR` set.

The DSN is a secret and never stands in arguments: it comes from `--dsn-file`, from the environment
or from the TOML file, as [configuration.md](configuration.md) tells. An operator's user is a member
of the role `coordinator_daemon`. `COORDINATOR_DEBUG=1` shows the traceback of an error.

## Exit codes

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | done, and the answer is no: `doctor` has findings, `health` is not well, a handoff that was \
waited for failed or was cancelled |
| 64 | wrong usage: an option, an argument, or its value |
| 65 | the database refused the request; nothing was written |
| 69 | the database, or the daemon that was asked, does not answer (`run` waits instead) |
| 70 | a defect of the coordinator |
| 75 | not yet: a handoff that was waited for has not ended |
| 78 | wrong configuration, or a schema that is missing, too old or too new |
| 130 | interrupted |
| 141 | whoever read the output has gone |
"""

_SHAPES = {
    "migrate": "`{version, dry_run, steps: [{version, file, half, deed}]}`; `half` is "
    "`coordination` or `business`, `deed` is `run`, `adopt` or `skip`",
    "doctor": "`{findings: [{severity, what, why, fix}]}`; `severity` is `error`, `warning` or "
    "`note`",
    "status": "`{handoffs: {due, delayed, dispatched, accepted, succeeded, failed, cancelled}, "
    "oldest_due_s, unanswered_addresses, agents: {idle, working, blocked}, "
    "blocked: {stale, unresponsive, left, said}, "
    "leader: {led, term, id, connected, last_pass_ago_s}, "
    "notification_queue_usage, server_version, schema_version}`",
    "agent run": "`{handoff_id, attempt, outcome, worktree, trouble}`, an object a line for each "
    "attempt; `outcome` is `succeeded`, `failed`, `retry`, `settled` (by the command itself), "
    "`cancelled` or `lost`; `worktree` is `{kept, path, branch, commit, base}`",
    "agents list": "`{agents: [an agent's row], more}`",
    "agents show": "`{agent, handoff, events}`; `handoff` is what it holds",
    "handoffs create": "`{handoff_id, repeated, warning, handoff}`",
    "handoffs list": "`{handoffs: [a handoff's row], more}`",
    "handoffs show": "`{handoff, events, trace: {root_id, handoffs}}`; the tree is a list in which "
    "a child follows its parent, with `parent_id`, `depth`, `attempts` and `remarks`",
    "handoffs cancel": "`{handoff_id, verdict, handoff}`; `verdict` is `cancelled` or `requested`",
    "handoffs retry": "`{handoff_id, handoff}`",
    "tasks hand-off": "`{task_id, handoff_id, warning}`",
    "events": "`{event_number, occurred_at, event, handoff_id, attempt, agent, by_user, "
    "by_application, detail}`, an object a line",
    "health": "`{ok, asked, address, http_status, answer}`",
    "config show": "`{settings: [{name, value, origin, meaning}]}`",
    "reload": "`{pid}`",
    "install-service": "`{unit, files: [{path, mode, content, deed}], next}`; `deed` is `written`, "
    "`replaced`, `unchanged` or `kept`; with `--dry-run` only `{files: [{path, mode, content}]}`; "
    "the credential's `content` is null",
    "config schema": "the JSON schema itself: "
    "[configuration.schema.json](configuration.schema.json)",
    "run": "the log, an object a line: see [events.md](events.md)",
}


def page() -> str:
    """Return the whole reference page."""
    root = click.Context(coordinator, info_name="coordinator")
    return _HEAD + "".join(_section(*each) for each in every_command(root, coordinator))


def _section(context: click.Context, command: click.Command) -> str:
    text = inspect.cleandoc(command.help or "")
    shape = _SHAPES.get(context.command_path.partition(" ")[2])
    parts = [
        f"\n## `{usage(context, command)}`\n\n{text}\n",
        f"\n`--json`: {shape}.\n" if shape else "",
        _examples(command),
        "".join(_options(context, command)),
    ]
    return "".join(parts)


def _examples(command: click.Command) -> str:
    lines = example_lines(command)
    return "\n```sh\n" + "\n".join(line.strip() for line in lines) + "\n```\n" if lines else ""


def _options(context: click.Context, command: click.Command) -> Iterator[str]:
    told = list(options(context, command))
    if told:
        yield "\n| Option | Meaning |\n|---|---|\n"
    for record in told:
        flags, meaning = (text.replace("|", "\\|") for text in record)
        yield f"| `{flags}` | {meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
