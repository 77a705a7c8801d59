"""What an answer means when a proxy said it that nobody knows."""

from . import foreign
from .evidence import CONNECT
from .fault import Fault
from .rules import Sent
from .verdict import GUESS, LIKELY, PROXY, TRANSPORT, Verdict

# How `Server` begins where a web server answers a CONNECT with its own error page. Some of them can be proxies, and then
# their refusals are other statuses.
_WEB_SERVERS = ("nginx", "apache", "microsoft-iis", "cloudflare", "caddy", "litespeed", "openresty", "lighttpd")


def said(evidence, status, doubt, providers):
    """What a proxy means by its answer. `doubt` is how sure it is that a proxy said it."""
    if 200 <= status < 300:
        return Verdict.fine(PROXY, f"the proxy answered {status}")
    why = _no_proxy(evidence, status)
    if why:
        return Verdict.raised(Fault.raised("proxy_not_a_proxy", proxy=evidence.proxy), TRANSPORT, LIKELY, why)
    matched = _matched(evidence, status, providers)
    if matched:
        verdict = foreign.by_rule(evidence, matched.rule, doubt, f"a proxy's {matched.rule.sign()}")
    else:
        slug = "malformed_request" if status < 500 else "internal"
        verdict = Verdict.of(slug, PROXY, GUESS, f"{status} means nothing in particular to a proxy")
    return verdict.but(said=evidence.line())


def by_words(evidence, status, providers):
    """Whether words of a proxy's trade decided, not the status alone."""
    if evidence.raw_line() is None:
        return False
    matched = _matched(evidence, status, providers)
    return matched is not None and matched.by_words


def _matched(evidence, status, providers):
    generic = providers.generic()
    sent = Sent(None, foreign.words(evidence), status, evidence.proxy_host, evidence.way)
    return generic.rule(sent) if generic else None


def _no_proxy(evidence, status):
    """Why whatever answered a CONNECT is no proxy, or None."""
    if status < 400:
        return f"no proxy answers {status}: a log-in page of the network, or a web server"
    server = (evidence.headers.first("Server") or "").lower()
    web = next(filter(server.startswith, _WEB_SERVERS), None)
    if web and status in (400, 404, 405, 501) and evidence.way == CONNECT:
        return f"a web server ({web}) answers CONNECT with {status}"
    return None
