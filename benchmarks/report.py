"""What a comparison found, as JSON, as a table for a terminal, and as a page in markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.contest import Comparison, Results
from benchmarks.figures import Spread, ratios, shown


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where and how it was measured; the server's settings are those it told when asked."""

    machine: Mapping[str, str | int]
    settings: Mapping[str, str]
    load_before: str
    load_after: str
    rounds: int


Row = tuple[str, ...]


def as_json(comparison: Comparison, results: Results, conditions: Conditions) -> dict[str, object]:
    """Keep everything: each round's figure, and what was made of it."""
    return {
        "comparison": comparison.name,
        "question": comparison.question,
        "floor": comparison.floor,
        "conditions": asdict(conditions),
        "contenders": [
            {
                "name": each.name,
                "setting": each.setting,
                "includes": each.includes,
                "figures": {
                    name: {
                        "rounds": [round(value, 4) for value in rounds],
                        **_rounded(Spread.of(rounds)),
                        "to_floor": _rounded(ratios(rounds, results[comparison.floor][name])),
                    }
                    for name, rounds in results[each.name].items()
                },
            }
            for each in comparison.contenders
        ],
    }


def rows(comparison: Comparison, results: Results) -> list[Row]:
    """A header, then a contender a row: the median of each figure, its spread, and its ratio."""
    names = list(results[comparison.floor])
    header = ["contender", *(column for name in names for column in (name, "to floor"))]
    return [
        tuple(header),
        *(
            (each.name, *_cells(results[each.name], results[comparison.floor]))
            for each in comparison.contenders
        ),
    ]


def as_text(table: Sequence[Row]) -> str:
    """Align the columns for a terminal."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_markdown(comparison: Comparison, results: Results, conditions: Conditions) -> str:
    """A page: the question, the table, what each figure includes, and the conditions."""
    header, *body = rows(comparison, results)
    parts = [
        f"# {comparison.name}",
        comparison.question,
        f"Median of {conditions.rounds} interleaved rounds [lowest to highest]; `to floor` is the"
        f" median of each round's ratio to *{comparison.floor}* in the same round.",
        "\n".join([_line(header), _line(["--", *["--:"] * (len(header) - 1)]), *map(_line, body)]),
        "\n".join(
            f"- **{each.name}**: {each.includes} Set: {each.setting}."
            for each in comparison.contenders
        ),
        _conditions(conditions),
    ]
    return "\n\n".join(parts) + "\n"


def _cells(mine: Mapping[str, Sequence[float]], floor: Mapping[str, Sequence[float]]) -> list[str]:
    return [
        cell
        for name, rounds in mine.items()
        for cell in (_spread(Spread.of(rounds)), _ratio(ratios(rounds, floor[name])))
    ]


def _spread(of: Spread) -> str:
    return f"{shown(of.median)} [{shown(of.low)} to {shown(of.high)}]"


def _ratio(of: Spread) -> str:
    return f"{of.median:.2f} [{of.low:.2f} to {of.high:.2f}]"


def _rounded(of: Spread) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(of).items()}


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _conditions(of: Conditions) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in of.machine.items())
    settings = ", ".join(f"`{name} = {value}`" for name, value in of.settings.items())
    return (
        f"Machine: {machine}. Server, as it told: {settings}."
        f" Load average before {of.load_before}, after {of.load_after} (1, 5 and 15 minutes; it"
        " counts the run itself)."
    )
