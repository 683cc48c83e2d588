"""A text that does not show itself: a tool that prints variables beside a traceback shows stars."""


class Hidden(str):
    """A secret, such as a DSN. Only `repr` hides it: it compares and joins as any text does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def plain(self) -> str:
        """Return the text itself, for those who take no other kind of text."""
        return str(self)
