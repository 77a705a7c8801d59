"""What a wait or a refusal holds, unless a provider's rule says otherwise."""

from ..catalogue import layer

_TARGETS = {"target_refused", "target_unreachable", "target_reset", "connect_timeout", "tls_handshake_failed", "tls_certificate_invalid"}
_EXCEPT = {
    "client": ({"wrong_protocol": "upstream", "client_tls_failed": "upstream"}, "request"),
    "auth": ({}, "account"),
    "plan": ({}, "account"),
    "targeting": ({}, "account"),
    "policy": (dict.fromkeys(("port_denied", "target_private", "target_metadata", "target_denied"), "target"), "account"),
    "gateway": ({"loop_detected": "target"}, "upstream"),
    "exit": ({"no_exit": "account"}, "request"),
    "target": (
        dict.fromkeys(("dns_not_found", "dns_failed", "dns_timeout"), "domain") | dict.fromkeys(_TARGETS, "target"),
        "request",
    ),
    "transport": ({"proxy_reset": "request"}, "upstream"),
    "origin": (
        dict.fromkeys(("target_forbidden", "target_challenged", "target_rate_limited"), "exit_on_domain")
        | dict.fromkeys(("target_unavailable", "target_gateway_error"), "domain"),
        "request",
    ),
}


def scope_of(slug):
    """account, upstream, domain, exit_on_domain, target or request."""
    exceptions, rule = _EXCEPT[layer(slug)]
    return exceptions.get(slug, rule)
