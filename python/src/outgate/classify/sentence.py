"""Our own sentences, recognised where nothing but the text is left of an answer: a body without its fields, `details` of a
hop further on."""

import re
from functools import cache

from ..catalogue import ROWS

# The fewest characters of a sentence's own words that make it ours and not somebody's chance remark.
FEWEST = 12

# A `{fact}` is anything; so is `{fact?…{}…}`, which may be missing.
_FACT = re.compile(r"\{[a-z_]+(?:\?.*?\{\}.*?)?\}")
# Told behind any sentence.
_ATTEMPTS = re.compile(r" \([0-9]* attempts\)\Z")


class _Pattern:
    """A sentence's own words, in order, with anything between them."""

    def __init__(self, slug):
        words = _FACT.split(ROWS[slug].sentence)
        self.slug = slug
        # Whether it begins with the first of the words, and ends with the last.
        self.from_start, self.to_end = words[0] != "", words[-1] != ""
        self.words = [word for word in words if word]
        self.length = sum(map(len, self.words))

    def fits(self, text):
        at = 0
        for number, word in enumerate(self.words):
            first = number == 0 and self.from_start
            last = self.to_end and number + 1 == len(self.words)
            if first and last:
                return text == word
            if last:
                return text.endswith(word, at)
            if first and not text.startswith(word):
                return False
            at = text.find(word, at)
            if at < 0:
                return False
            at += len(word)
        return True


@cache
def _patterns():
    # Of equals the last, hence backwards.
    return [pattern for slug in reversed(ROWS) if (pattern := _Pattern(slug)).length >= FEWEST]


def told_by(text):
    """Which fault this sentence tells, or None. Of several the one with most words of its own."""
    text = _ATTEMPTS.sub("", text.strip())
    fits = [pattern for pattern in _patterns() if pattern.fits(text)]
    return max(fits, key=lambda pattern: pattern.length).slug if fits else None
