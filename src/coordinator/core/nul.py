"""A NUL in a JSON document: the one character that PostgreSQL keeps in no text."""

import re

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def holds_nul(document: str) -> bool:
    """Whether a JSON document holds a NUL; a backslash followed by `u0000` is none."""
    return _NUL.search(document) is not None
