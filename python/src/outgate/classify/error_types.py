"""The error types of `Proxy-Status` (RFC 9209 section 2.3), and the faults that each stands for, the likeliest first."""

from .fields import number

_RESPONSE_HEADER = {None: ("response_header_too_large",)}
_MALFORMED = {None: ("response_malformed",)}
_INTERNAL = {None: ("internal",)}

# By type, then by the status that tells those apart that share a type; None stands for any other status.
_MEANT = {
    "dns_timeout": {None: ("dns_timeout",)},
    "destination_not_found": {None: ("dns_not_found", "target_unreachable")},
    "destination_unavailable": {None: ("no_exit", "target_unreachable")},
    "destination_ip_prohibited": {None: ("target_private", "target_metadata", "target_denied")},
    "destination_ip_unroutable": {None: ("target_unreachable",)},
    "connection_refused": {None: ("target_refused",)},
    "connection_terminated": {None: ("target_reset", "exit_lost", "exit_refused", "session_lost")},
    "connection_timeout": {None: ("connect_timeout", "exit_timeout")},
    "connection_read_timeout": {None: ("response_timeout",)},
    "http_response_timeout": {None: ("response_timeout",)},
    "connection_write_timeout": {None: ("response_timeout", "connect_timeout")},
    "connection_limit_reached": {
        429: ("threads_exceeded", "rate_limited"),
        453: ("threads_exceeded", "rate_limited"),
        None: ("overloaded", "threads_exceeded"),
    },
    "tls_protocol_error": {None: ("tls_handshake_failed",)},
    "tls_alert_received": {None: ("tls_handshake_failed",)},
    "tls_certificate_error": {None: ("tls_certificate_invalid",)},
    "http_request_error": {
        407: ("credentials_wrong", "credentials_missing", "credentials_malformed"),
        408: ("request_timeout",),
        414: ("uri_too_long",),
        417: ("expectation_failed",),
        429: ("rate_limited",),
        431: ("header_too_large",),
        454: (
            "country_invalid",
            "modifier_unknown",
            "state_invalid",
            "city_invalid",
            "session_invalid",
            "targeting_unsupported",
        ),
        455: ("ttl_invalid",),
        501: ("method_unsupported",),
        505: ("version_unsupported",),
        None: ("malformed_request", "malformed_target", "wrong_protocol", "https_needs_connect"),
    },
    "http_request_denied": {
        402: ("bandwidth_exhausted",),
        452: ("bandwidth_exhausted",),
        401: ("credentials_wrong", "credentials_missing", "source_denied", "key_suspended"),
        407: ("credentials_wrong", "credentials_missing", "source_denied", "key_suspended"),
        429: ("rate_limited", "auth_throttled"),
        453: ("threads_exceeded",),
        None: ("target_denied", "port_denied", "key_blocked", "pool_denied", "country_denied"),
    },
    "http_response_incomplete": {None: ("response_incomplete",)},
    "http_response_header_section_size": _RESPONSE_HEADER,
    "http_response_header_size": _RESPONSE_HEADER,
    "http_response_trailer_section_size": _RESPONSE_HEADER,
    "http_response_trailer_size": _RESPONSE_HEADER,
    "http_response_body_size": _MALFORMED,
    "http_response_transfer_coding": _MALFORMED,
    "http_response_content_coding": _MALFORMED,
    "http_protocol_error": _MALFORMED,
    "http_upgrade_failed": {None: ("upgrade_failed",)},
    "proxy_internal_response": {503: ("draining", "ledger_unavailable", "overloaded"), None: ("internal",)},
    "proxy_internal_error": _INTERNAL,
    "proxy_configuration_error": _INTERNAL,
    "proxy_loop_detected": {None: ("loop_detected",)},
    # Of a draft that came after the RFC.
    "incremental_refused": {None: ("method_unsupported",)},
}


def meant_by(member, status):
    """The faults that a member's error stands for; empty if nobody knows the type."""
    error = (member.error or "").strip().lower().replace("-", "_")
    if error == "dns_error":
        return _dns(member.parameter("rcode"))
    said = number(member.parameter("status-code"))
    meant = _MEANT.get(error, {None: ()})
    return meant.get(status if said is None else said, meant[None])


def _dns(rcode):
    if rcode is None:
        return ("dns_not_found", "dns_failed")
    return ("dns_not_found",) if rcode.upper() in ("NXDOMAIN", "NOERROR", "3") else ("dns_failed",)
