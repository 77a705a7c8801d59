"""The fields of an answer, from whichever library read them."""


class Fields:
    """Pairs of name and value as they came, in order. Names need not be valid: proxies send stranger things."""

    __slots__ = ("pairs",)

    def __init__(self, pairs=()):
        self.pairs = tuple((_text(name), _text(value)) for name, value in pairs)

    @classmethod
    def of(cls, given):
        """From pairs, from anything with `items()`, or as they are."""
        if isinstance(given, cls):
            return given
        if given is None:
            return cls()
        return cls(given.items() if hasattr(given, "items") else given)

    def all(self, name):
        """Every value of a field, by its name in any case, in order."""
        name = name.lower()
        return [value.strip() for known, value in self.pairs if known.lower() == name]

    def first(self, name):
        """The first value of a field, or None."""
        name = name.lower()
        return next((value.strip() for known, value in self.pairs if known.lower() == name), None)

    def has(self, name):
        """Whether there is such a field."""
        return self.first(name) is not None

    def __repr__(self):
        return f"Fields({list(self.pairs)!r})"


def _text(given):
    """A value that is no text is shown as far as it is."""
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given)
