"""What the bytes of SOCKS5 say: one for the login, one for the request, and each stands for several faults."""

from ..catalogue import ROWS
from .fault import Fault
from .verdict import CERTAIN, GUESS, LIKELY, PROXY, TRANSPORT, Verdict

# What each reply means by RFC 1928 section 6, and which fault it is first of all.
_REPLIES = {
    1: ("internal", GUESS, "general failure"),
    2: ("target_denied", GUESS, "not allowed by the ruleset"),
    3: ("target_unreachable", LIKELY, "network unreachable"),
    4: ("target_unreachable", GUESS, "host unreachable"),
    5: ("target_refused", LIKELY, "connection refused"),
    6: ("connect_timeout", LIKELY, "TTL expired"),
    7: ("method_unsupported", LIKELY, "command not supported"),
    8: ("malformed_target", LIKELY, "address type not supported"),
}


def said(evidence, word):
    """What a SOCKS5 server's last word means."""
    if word.kind == "too_long":
        why = "user name or password are longer than the 255 bytes that SOCKS5 has room for"
        return Verdict.of("credentials_malformed", TRANSPORT, CERTAIN, why)
    if word.kind == "no_method":
        why = "the SOCKS5 server takes none of the offered ways to log in"
        return Verdict.of("credentials_missing", PROXY, LIKELY, why)
    if word.byte == 0:
        return Verdict.fine(PROXY, "SOCKS5 says that it succeeded")
    if word.kind == "login":
        why = f"SOCKS5 refused the login with status {word.byte:02x}"
        # A key that is blocked is refused here too, though its login is right.
        auth = [slug for slug, row in ROWS.items() if row.layer == "auth"]
        return Verdict.of("credentials_wrong", PROXY, LIKELY, why).also([*auth, "key_blocked"])
    return _replied(evidence, word.byte).also(replied_with(word.byte))


def _replied(evidence, byte):
    if byte in _REPLIES:
        slug, confidence, meaning = _REPLIES[byte]
        return Verdict.of(slug, PROXY, confidence, f"SOCKS5 replied {byte:02x}: {meaning}")
    fault = Fault.raised("proxy_not_a_proxy", proxy=evidence.proxy)
    return Verdict.raised(fault, TRANSPORT, LIKELY, f"SOCKS5 replied {byte:02x}: no reply that RFC 1928 knows")


def replied_with(byte):
    """Every fault that the catalogue answers with this byte."""
    return [slug for slug, row in ROWS.items() if row.seen == "gateway" and row.socks5 == byte]
