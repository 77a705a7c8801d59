"""The fields of an answer, from whichever library read them."""

import re

_NUMBER = re.compile("[0-9]{1,5}")


class Fields:
    """Pairs of name and value as they came, in order. Names need not be valid: proxies send stranger things."""

    __slots__ = ("pairs", "_values")

    def __init__(self, pairs=()):
        self.pairs = tuple((_text(name), _text(value)) for name, value in pairs)
        self._values = {}
        for name, value in self.pairs:
            self._values.setdefault(name.lower(), []).append(value.strip())

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
        return list(self._values.get(name.lower(), ()))

    def first(self, name):
        """The first value of a field, or None."""
        return next(iter(self._values.get(name.lower(), ())), None)

    def has(self, name):
        """Whether there is such a field."""
        return name.lower() in self._values

    def __repr__(self):
        return f"Fields({list(self.pairs)!r})"


def _text(given):
    """A value that is no text is shown as far as it is."""
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given)


def number(text):
    """A whole number as a status has it, or None."""
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None
