"""What the two kinds of files have in common: how their texts are refused."""


class Unreadable(Exception):
    """The text is not what its kind of file holds; `line` and `column` count from 1."""

    def __init__(self, why: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {why}")


class Uneditable(Exception):
    """The text can be read, but the change cannot be made without touching more of it."""


def unreadable_at(text: str, offset: int, why: str) -> Unreadable:
    """Return the error with the offset as line and column."""
    before = text[:offset]
    return Unreadable(why, before.count("\n") + 1, offset - before.rfind("\n"))


Splice = tuple[int, int, str]
"""Where a piece of text begins and ends, and what takes its place."""


def spliced(text: str, splices: list[Splice]) -> str:
    """Return the text with these pieces replaced; none may overlap."""
    for start, end, new in sorted(splices, reverse=True):
        text = text[:start] + new + text[end:]
    return text
