"""A fault that the user's end raises, and the facts in it: values made harmless before they reach any output.

A fact may come from anybody on the way, so it is treated as hostile. What is left is one line of at most LONGEST bytes of
printable ASCII without `"` and `\\`.
"""

import re
from dataclasses import dataclass

from ..catalogue import ROWS

# The most bytes a fact keeps, and a sentence.
LONGEST = 120
LONGEST_SENTENCE = 300

# `{fact}`, and `{fact?text with {} in it}` that vanishes with an empty fact.
_PIECE = re.compile(r"\{([a-z_]+)(?:\?(.*?)\{\}(.*?))?\}")


def render(value, longest=LONGEST):
    """Printable ASCII of at most `longest` bytes; `"` becomes `'`, every other unsafe character `?`."""
    value = str(value)
    text = "".join(_harmless(c) for c in value[:longest])
    return text if len(value) <= longest else text[: longest - 3] + "..."


def _harmless(c):
    if c == '"':
        return "'"
    return c if " " <= c <= "~" and c != "\\" else "?"


def seconds(wait):
    """A wait as a fact: whole seconds, or one decimal where they would say too little (`0.3`)."""
    whole = int(wait)
    return str(whole) if wait - whole < 0.05 or whole >= 10 else f"{wait:.1f}"


@dataclass(frozen=True)
class Fault:
    """What happened, with its facts: pairs of name and value."""

    slug: str
    facts: tuple = ()

    @classmethod
    def raised(cls, slug, **facts):
        """With the facts that its row declares; missing ones are empty."""
        return cls(slug, tuple((name, render(facts.get(name, ""))) for name in ROWS[slug].facts))

    def sentence(self):
        """One line of printable ASCII."""
        facts = dict(self.facts)

        def fill(piece):
            name, before, after = piece.groups()
            value = facts.get(name, "")
            if before is None:
                return value
            return f"{before}{value}{after}" if value else ""

        return render(_PIECE.sub(fill, ROWS[self.slug].sentence), LONGEST_SENTENCE)
