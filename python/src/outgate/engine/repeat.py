"""Whether a request may be made again: what was sent, what the fault says about the target, what the method allows."""

from ..catalogue import layer

# RFC 9110 section 9.2.2. CONNECT is safe until bytes went into the tunnel, and those are the caller's affair.
_SAFE = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "CONNECT", "PROPFIND", "REPORT"}

# Of these layers the named faults came before anything of the request was at the target.
_BEFORE = {
    "client": {"malformed_request", "malformed_target", "uri_too_long", "header_too_large", "https_needs_connect"},
    "gateway": {"overloaded", "draining", "ledger_unavailable", "loop_detected"},
    "exit": {"no_exit", "exit_refused", "exit_timeout"},
    "target": {
        "dns_not_found",
        "dns_failed",
        "dns_timeout",
        "target_refused",
        "target_unreachable",
        "connect_timeout",
        "tls_handshake_failed",
        "tls_certificate_invalid",
    },
    "transport": {"proxy_dns_failed", "proxy_refused", "proxy_unreachable", "proxy_tls_failed"},
    "origin": set(),
}


def safe(ask, sent, finding):
    """Whether repeating the request can't make the target do something twice."""
    if not sent:
        return True
    # What was streamed away can't be sent again, however safe that would be.
    if ask.body == "streamed":
        return False
    return safe_method(ask) or (ask.repeat != "never" and not _carried_out(finding))


def safe_method(ask):
    """Whether the request may be sent twice at the same time."""
    if ask.repeat == "by_method":
        return ask.method in _SAFE
    return ask.repeat == "recognised"


def _carried_out(finding):
    # With 429 (RFC 6585) and 403 (RFC 9110), and so with a challenge in place of the page, the target says that it did not act.
    if finding.provenance == "origin":
        return finding.slug not in ("target_rate_limited", "target_forbidden", "target_challenged")
    owner = layer(finding.slug)
    # auth, policy, plan, targeting: the proxy refused before it asked anybody.
    return owner in _BEFORE and finding.slug not in _BEFORE[owner]
