"""In which order it is asked what an attempt came to.

What came through a tunnel is the target's, whatever its fields say: nobody on the way could have stripped a forgery. On a
forwarded request a target's answer may carry any field, so the proxy's word counts only from a proxy that is known to strip
forgeries, or that is known to mark all its own.
"""

from . import foreign, generic, origin, own, proxy_status, socks, transport
from .evidence import DIRECT, FORWARDED, TUNNELLED
from .providers import Providers
from .retry_after import retry_after
from .verdict import CERTAIN, CONFIDENCES, DOCUMENTED, GUESS, LIKELY, PROXY, Verdict


def classify(evidence, providers=None):
    """What the attempt came to: a `Verdict`. Without `providers` those that come along are known."""
    providers = Providers.builtin() if providers is None else providers
    if evidence.status is None:
        if evidence.breakage is not None:
            return transport.broke(evidence, evidence.breakage)
        if evidence.socks is not None:
            return socks.said(evidence, evidence.socks)
        return Verdict.fine(PROXY, "nothing is known of it but that it was tried")
    verdict = _answered(evidence, evidence.status, providers)
    if verdict.is_fine and evidence.breakage is not None:
        # The answer had begun well and broke.
        verdict = transport.broke(evidence, evidence.breakage)
    wait = retry_after(evidence.headers)
    return verdict if wait is None else verdict.but(wait=wait)


def _answered(evidence, status, providers):
    """What an answer means."""
    verdict = own.said(evidence)
    if verdict is not None:
        return verdict
    known = foreign.known(evidence, providers)
    verdict = known and foreign.said(evidence, status, known, providers)
    if verdict is not None:
        return verdict
    if evidence.way == DIRECT:
        return origin.said(evidence, status, CERTAIN, "nobody else can have written it")
    if evidence.way == TUNNELLED:
        return _tunnelled(evidence, status, providers)
    if evidence.way == FORWARDED:
        return _forwarded(evidence, status, known and known.provider, providers)
    return proxy_status.said(evidence, status) or generic.said(evidence, status, CERTAIN, providers)


def _tunnelled(evidence, status, providers):
    opens = foreign.who_opens_tunnels(evidence, providers)
    if opens:
        sign = f"through a tunnel, but it has a field of {opens}, who opens TLS: configure it if it is yours"
        return origin.said(evidence, status, LIKELY, sign)
    return origin.said(evidence, status, CERTAIN, "it came through the tunnel")


def _forwarded(evidence, status, provider, providers):
    """An answer that both can have written, and of which the provider's rules did not say."""
    if provider and provider.promises_marks and status != 407:
        sign = f"what {provider.title} says itself has a field of its own, and this has none"
        return origin.said(evidence, status, DOCUMENTED, sign)
    if status < 400:
        return origin.said(evidence, status, LIKELY, "a success")
    verdict = proxy_status.said(evidence, status)
    if verdict is not None:
        return verdict
    author, sign = origin.author(evidence, status)
    if author == origin.SITE:
        return origin.said(evidence, status, LIKELY, sign)
    if author == origin.BY_PROXY:
        return generic.said(evidence, status, LIKELY, providers)
    return origin.challenged(evidence, status, LIKELY) or _anybodys(evidence, status, providers)


def _anybodys(evidence, status, providers):
    """An answer without a sign of its author."""
    by_proxy = generic.said(evidence, status, LIKELY, providers)
    sure = CONFIDENCES.index(by_proxy.confidence) <= CONFIDENCES.index(LIKELY)
    # Words of a proxy's trade decide; so does a gateway's own trouble, which web sites seldom leave without a sign.
    if (sure and generic.by_words(evidence, status, providers)) or status in (402, 502, 504):
        return by_proxy
    by_target = origin.said(evidence, status, GUESS, "nothing shows who said it")
    return by_target if by_target.is_fine else by_target.also(by_proxy.fits)
