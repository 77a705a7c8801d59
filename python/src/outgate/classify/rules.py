"""A rule: what a provider sends, and what that means."""

from dataclasses import dataclass
from typing import NamedTuple

from .verdict import DOCUMENTED, GUESS, LIKELY

# What a rule's knowledge rests on, and how sure a verdict is that rests on it: the provider's own public documentation; seen
# by us, of the program itself; public code and reports of third parties; general knowledge that nobody confirmed.
BASES = {"documented": DOCUMENTED, "seen": DOCUMENTED, "community": LIKELY, "unconfirmed": GUESS}

# A host that fits every rule.
_ANYWHERE = "*"

# How much of a code a rule names: another one or none; its first word, because some write a number behind it; all of it.
_OTHER, _WORD, _WHOLE = range(3)


class Sent(NamedTuple):
    """What a provider sent, as far as rules look at it."""

    code: str | None
    # All its words in lower case: fields, reason, body.
    text: str
    status: int
    # The proxy's host in lower case.
    host: str
    # How it was asked.
    way: str


@dataclass(frozen=True)
class Rule:
    """What a provider sends, and what that means. Of the conditions each that is given must hold, by any of its values."""

    slug: str
    # One of BASES.
    basis: str
    # What the provider says that it means, in few words.
    means: str
    codes: tuple = ()
    texts: tuple = ()
    statuses: tuple = ()
    # Host names of proxies, with all below them.
    at: tuple = ()
    ways: tuple = ()
    # What else it may stand for, by the provider's own word.
    others: tuple = ()
    # In place of what the fault's row says.
    retry: str | None = None
    scope: str | None = None
    # Who told it, if not the proxy.
    provenance: str | None = None
    # The wait that the provider asks for in its documentation, in seconds.
    wait: int | None = None
    # Where it comes from, if not from the provider's source.
    source: str | None = None

    @property
    def confidence(self):
        """How sure a verdict is that rests on it."""
        return BASES[self.basis]

    @property
    def looks_at(self):
        """All its conditions: of two rules with the same one would never be asked."""
        return self.codes, self.texts, self.statuses, self.at, self.ways

    def sign(self):
        """What it looks at, in one line."""
        signs = (
            " or ".join(map(str, self.statuses)),
            self.codes and f"code {' or '.join(self.codes)}",
            self.texts and 'text "' + '" or "'.join(self.texts) + '"',
            self.at and f"at {' or '.join(self.at)}",
            " or ".join(self.ways),
        )
        return ", ".join(filter(None, signs))

    def weight(self, sent):
        """How much of what was sent it looks at, what weighs more first: a code, a text, a status, where, how.

        None if it does not fit.
        """
        code = _OTHER if sent.code is None else self._code(plain_code(sent.code))
        text = any(known in sent.text for known in self.texts)
        status = sent.status in self.statuses
        at = any(sent.host == _ANYWHERE or under(sent.host, zone) for zone in self.at)
        way = sent.way in self.ways
        fits = (
            (not self.codes or code > _OTHER)
            and (not self.texts or text)
            and (not self.statuses or status)
            and (not self.at or at)
            and (not self.ways or way)
        )
        return (code, text, status, at, way) if fits else None

    def _code(self, code):
        if code in self.codes:
            return _WHOLE
        return _WORD if code.split()[:1] and code.split()[0] in self.codes else _OTHER


class Matched(NamedTuple):
    """A rule that fits, and whether it looked at words or a code of the provider's, not at the status alone."""

    rule: Rule
    by_words: bool


def best(rules, sent):
    """The rule that fits best, as `Matched`; of equals the first. None if none fits."""
    fits = [(weight, rule) for rule in rules if (weight := rule.weight(sent))]
    if not fits:
        return None
    (code, text, *_), rule = max(fits, key=lambda fit: fit[0])
    return Matched(rule, code > _OTHER or text)


def elsewhere(rules, sent):
    """What those rules say that fit at some host."""
    sent = sent._replace(host=_ANYWHERE)
    return [rule.slug for rule in rules if rule.at and rule.weight(sent)]


def unseen(rules, sent):
    """What those rules say that look for words or a code besides the status: where neither was seen, it may have been one."""
    if sent.code is not None or sent.text.strip():
        return []

    def may_be(rule):
        here = not rule.at or any(under(sent.host, zone) for zone in rule.at)
        return (rule.texts or rule.codes) and here and sent.status in rule.statuses

    return [rule.slug for rule in rules if may_be(rule)]


def plain_code(code):
    """A code as rules write it: lower case, with underscores."""
    return code.strip().lower().replace("-", "_")


def under(host, zone):
    """Whether `host` is `zone` or below it."""
    return host == zone or host.endswith(f".{zone}")
