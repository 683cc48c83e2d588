"""How deep JSON may be nested: clients and the SDK's parser give up somewhere below two hundred."""

from collections.abc import Iterable

DEEPEST = 100


def is_too_deep(value: object) -> bool:
    """Whether lists and objects lie in each other more than a hundred deep."""
    layer: list[object] = [value]
    for _ in range(DEEPEST + 1):
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
