"""What broke without an answer, or in the middle of one."""

from .breakage import FOREIGN
from .evidence import DIRECT
from .fault import Fault, seconds
from .verdict import CERTAIN, LIKELY, ORIGIN, TRANSPORT, Verdict

# What may be behind a tunnel or an answer that was cut: by then nobody can tell in-band.
_CUT = (
    "target_reset",
    "response_incomplete",
    "exit_lost",
    "bandwidth_exhausted",
    "key_revoked",
    "key_suspended",
    "key_blocked",
    "draining",
)


def broke(evidence, breakage):
    """What the breakage means."""
    if evidence.way == DIRECT:
        return _direct(evidence, breakage)
    if breakage.phase == "target_tls":
        return _target_tls(evidence, breakage)
    if breakage.phase == "dns":
        return _proxy_dns(evidence, breakage)
    by_manner = {
        "foreign": _foreign,
        "not_found": _not_found,
        "refused": _refused,
        "unreachable": _unreachable,
        "certificate": _proxy_tls,
        "tls_protocol": _proxy_tls,
        "timed_out": _timed_out,
    }
    return by_manner.get(breakage.manner, _cut)(evidence, breakage)


def _transport(evidence, slug, confidence, why, **facts):
    """A fault of the way to the proxy."""
    return Verdict.raised(Fault.raised(slug, proxy=evidence.proxy, **facts), TRANSPORT, confidence, why)


def _proxy_dns(evidence, breakage):
    if breakage.manner == "timed_out":
        why = "no resolver answered for the proxy's name in time"
        # The name may be right: only the resolver was slow.
        return _transport(evidence, "proxy_dns_failed", CERTAIN, why).but(retry="backoff")
    why = f"the proxy's name does not resolve: {breakage.told()}"
    return _transport(evidence, "proxy_dns_failed", CERTAIN, why)


def _foreign(evidence, breakage):
    why = f"{FOREIGN[breakage.what]} came where the proxy's answer was due"
    return _transport(evidence, "proxy_not_a_proxy", CERTAIN, why)


def _not_found(evidence, _breakage):
    return _transport(evidence, "proxy_dns_failed", CERTAIN, "no such name")


def _refused(evidence, _breakage):
    return _transport(evidence, "proxy_refused", CERTAIN, "the connection to the proxy was refused")


def _unreachable(evidence, _breakage):
    return _transport(evidence, "proxy_unreachable", CERTAIN, "there is no route to the proxy")


def _proxy_tls(evidence, breakage, confidence=CERTAIN):
    what = f"the proxy's certificate: {breakage.what}" if breakage.manner == "certificate" else breakage.what
    return _transport(evidence, "proxy_tls_failed", confidence, f"TLS with the proxy: {what}", what=what)


def _timed_out(evidence, breakage):
    after = seconds(breakage.seconds)
    if breakage.phase == "ask":
        why = "the request was sent, and no answer came in time: the proxy, or what it waits for"
        verdict = _transport(evidence, "proxy_timeout", LIKELY, why, seconds=after)
        return verdict.also(("response_timeout", "exit_timeout", "connect_timeout"))
    if breakage.phase in ("body", "tunnel"):
        why = "silence in the middle: the target, the exit or the proxy"
        return _transport(evidence, "proxy_timeout", LIKELY, why, seconds=after).also(("response_timeout",))
    return _transport(evidence, "proxy_timeout", CERTAIN, "the proxy's address does not answer in time", seconds=after)


def _cut(evidence, breakage):
    """A reset, a close, or what the system calls otherwise."""
    phase, manner = breakage.phase, breakage.manner
    if (phase, manner) == ("tls", "closed"):
        # Ports that take no TLS mostly close when they see its first bytes.
        what = "the connection was closed in the handshake"
        return _transport(evidence, "proxy_tls_failed", LIKELY, f"TLS with the proxy: {what}", what=what)
    if phase in ("body", "tunnel"):
        why = f"{breakage.told()} in the middle, where nobody can say why any more"
        return _transport(evidence, "proxy_reset", LIKELY, why).also(_CUT)
    if (phase, manner) == ("tcp", "other"):
        why = f"the connection to the proxy could not be made: {breakage.what}"
        return _transport(evidence, "proxy_unreachable", LIKELY, why)
    if (phase, manner) == ("ask", "closed"):
        why = "the proxy closed the connection instead of answering: a restart, or a port of another protocol"
        return _transport(evidence, "proxy_reset", LIKELY, why).also(("proxy_not_a_proxy",))
    return _transport(evidence, "proxy_reset", CERTAIN, f"{breakage.told()} before the proxy answered")


def _target_tls(evidence, breakage):
    """TLS inside the tunnel: the proxy takes no part in it, unless it is one that should not be there."""
    host, told = evidence.host, breakage.told()
    if breakage.manner == "certificate":
        fault = Fault.raised("tls_certificate_invalid", host=host, what=told)
        return Verdict.raised(fault, ORIGIN, CERTAIN, f"the certificate shown for the target: {told}")
    failed = Fault.raised("tls_handshake_failed", host=host)
    if breakage.manner == "tls_protocol":
        return Verdict.raised(failed, ORIGIN, CERTAIN, f"TLS with the target: {told}")
    if breakage.manner == "foreign":
        return Verdict.raised(failed, ORIGIN, CERTAIN, f"the target speaks {told} where TLS was due")
    verdict = Verdict.raised(failed, ORIGIN, LIKELY, f"{told} in the TLS handshake with the target")
    return verdict.also(("target_reset", "exit_lost", "proxy_reset"))


def _direct(evidence, breakage):
    """What broke between us and a target that was asked without a proxy."""
    host, phase, manner = evidence.host, breakage.phase, breakage.manner
    port = evidence.target.removeprefix(host).lstrip(":") if evidence.target.startswith(host) else ""
    after = seconds(breakage.seconds)

    def certain(slug, why, **facts):
        return Verdict.raised(Fault.raised(slug, host=host, port=port, **facts), TRANSPORT, CERTAIN, why)

    if phase in ("tls", "target_tls"):
        return _target_tls(evidence, breakage)
    if phase == "dns" and manner == "timed_out":
        return certain("dns_timeout", "no resolver answered in time")
    if phase == "dns" or manner == "not_found":
        return certain("dns_not_found", "the target's name does not resolve here", rcode="no address")
    if manner == "refused":
        return certain("target_refused", "the target refused the connection")
    if manner == "timed_out" and phase == "tcp":
        return certain("connect_timeout", "the target took no connection in time", seconds=after)
    if manner == "timed_out":
        return certain("response_timeout", "the target did not answer in time", seconds=after)
    if manner == "unreachable" or (phase, manner) == ("tcp", "other"):
        return certain("target_unreachable", "there is no route to the target")
    if manner == "closed":
        return certain("response_incomplete", "the target closed the connection too early")
    if manner == "foreign":
        return certain("response_malformed", "what came is no HTTP", what=f"it speaks {FOREIGN[breakage.what]}")
    return certain("target_reset", "the target reset the connection")
