"""What handoffs are made of: odd texts and JSON, drawn by Hypothesis, the same for a seed."""

from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

_COUNT = 200
# PostgreSQL keeps neither NUL nor half a character.
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
_LEAF = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT
_JSON = st.recursive(
    _LEAF, lambda more: st.lists(more, max_size=3) | st.dictionaries(_TEXT, more, max_size=3)
)


class Shapes:
    """So many texts, JSON objects and JSON values."""

    def __init__(self, seed: str) -> None:
        self.texts: list[str] = []
        self.objects: list[dict[str, Any]] = []
        self.values: list[Any] = []
        self._draw(seed)

    def _draw(self, seed: str) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=_COUNT,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(_TEXT, st.dictionaries(_TEXT, _JSON, max_size=3), _JSON)
        def draw(text: str, mapping: dict[str, Any], value: Any) -> None:
            # Something that is no blank for PostgreSQL either.
            self.texts.append(f"{text}!")
            self.objects.append(mapping)
            self.values.append(value)

        draw()
