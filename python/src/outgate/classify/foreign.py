"""Answers of other makers' proxies, by the rules that they publish."""

from typing import NamedTuple

from ..catalogue import ROWS
from . import generic, origin
from .evidence import DIRECT, FORWARDED, TUNNELLED
from .fault import Fault, render
from .provider import Provider
from .rules import Sent
from .scope import scope_of
from .verdict import CERTAIN, LIKELY, ORIGIN, PROXY, Verdict, Wait, less_sure

# Codes that say that nothing went wrong.
_NO_ERROR = ("", "0", "200", "ok", "OK", "none", "false")


class Known(NamedTuple):
    """A provider, and whether it is known by configuration or its host name, so that what it sends is its own. Otherwise it is
    known by what an answer looks like, which others could write too."""

    provider: Provider
    surely: bool


def known(evidence, providers):
    """Whose proxy it is, or None."""
    surely = evidence.provider or providers.at_host(evidence.proxy_host)
    if surely:
        return Known(surely, True)
    # Behind a tunnel marks are a target's to forge.
    if evidence.way in (TUNNELLED, DIRECT):
        return None
    marked = providers.marked_in(evidence.headers)
    return Known(marked, False) if marked else None


def who_opens_tunnels(evidence, providers):
    """Whose mark an answer has that came through a tunnel, if that one opens TLS. A target may have forged it."""
    marked = providers.marked_in(evidence.headers)
    if marked is None or not marked.opens_tunnels:
        return None
    if evidence.provider is not None or providers.at_host(evidence.proxy_host) is not None:
        return None
    return marked.title


def said(evidence, status, known, providers):
    """What the provider said, if it was the provider who said it and a rule knows what it means; else None."""
    provider = known.provider
    code, text = provider.code(evidence.headers), provider.text(evidence.headers)
    marked = provider.is_marked(evidence.headers)
    if evidence.way == DIRECT or (evidence.way == TUNNELLED and not (provider.opens_tunnels and marked)):
        return None
    # A success is one unless a field says otherwise: some providers answer 200 with an error in it.
    if status < 400 and not (marked and (code is not None or text is not None)):
        return None
    sent = Sent(code, words(evidence, text), status, evidence.proxy_host, evidence.way)
    matched = provider.rule(sent)
    if matched:
        verdict = _by_match(evidence, status, known, matched, marked, sent)
    elif status < 400 and (code is None or code in _NO_ERROR):
        verdict = None
    elif marked and evidence.way != TUNNELLED:
        # It says that it was it, but not in words that are known: the generic rules go on from there.
        verdict = generic.said(evidence, max(status, 400), LIKELY, providers)
        verdict = verdict.but(why=f"{provider.title}'s own, by a field of its; then {verdict.why}")
    else:
        verdict = None
    if verdict is None:
        return None
    if provider.dialect is not None:
        verdict = verdict.also(_told_with(status, provider.dialect))
    shown = evidence.line() if text is None else render(text)
    return verdict.but(provider=provider.name, provider_code=code, said=shown)


def _by_match(evidence, status, known, matched, marked, sent):
    doubt = _doubt(evidence, status, known, matched, marked)
    if doubt is None:
        return None
    provider, rule = known.provider, matched.rule
    # What it means may depend on a host that is not known, or on words that the client did not show.
    also = provider.also(sent)
    if also:
        doubt = less_sure(doubt, LIKELY)
    return by_rule(evidence, rule, doubt, f"{provider.title} says: {rule.means} ({rule.sign()})").also(also)


def _told_with(status, dialect):
    """Every fault that a gateway says with this status in this dialect."""
    return [slug for slug, row in ROWS.items() if row.seen == "gateway" and row.dialects[dialect]["status"] == status]


def _doubt(evidence, status, known, matched, marked):
    """How sure it is that the provider said it. None if the target more likely did."""
    if evidence.way != FORWARDED or (marked and known.surely):
        return CERTAIN
    by_marks = CERTAIN if known.surely else LIKELY
    if marked:
        return by_marks
    if known.provider.promises_marks and status != 407:
        return None
    if matched.rule.provenance == ORIGIN or origin.is_a_proxys(status):
        return by_marks
    author, _ = origin.author(evidence, status)
    if author == origin.BY_PROXY:
        return by_marks
    # Words of the provider's documentation, or a plain line: sites answer with pages.
    if author == origin.UNKNOWN and (matched.by_words or evidence.is_bare()):
        return LIKELY
    return None


def by_rule(evidence, rule, doubt, why):
    """A rule's verdict."""
    slug = rule.slug
    provenance = rule.provenance or (ORIGIN if ROWS[slug].layer == "origin" else PROXY)
    return (
        Verdict.of(slug, provenance, less_sure(rule.confidence, doubt), why)
        .also(rule.others)
        .but(
            retry=rule.retry or ROWS[slug].retry,
            scope=rule.scope or scope_of(slug),
            wait=None if rule.wait is None else Wait(seconds=rule.wait),
            fault=_users_end(evidence, slug),
        )
    )


def _users_end(evidence, slug):
    """The fault, if it is one that the user's end raises."""
    if ROWS[slug].seen == "gateway":
        return None
    status = "" if evidence.status is None else evidence.status
    return Fault.raised(slug, host=evidence.host, proxy=evidence.proxy, status=status)


def words(evidence, text=None):
    """All that an answer says in words, in lower case."""
    return "\n".join((text or "", evidence.reason or "", evidence.text())).lower()
