"""Exceptions of sockets, TLS and HTTP libraries, as the breakage that the classifier knows."""

import errno
import http.client
import socket
import ssl

from .classify.breakage import Breakage

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


def breakage_of(error, phase, seconds):
    """What an exception means that came in this phase, `seconds` after the attempt began."""
    causes = list(_causes(error))
    for cause in causes:
        found = _known(cause, phase, seconds)
        if found is not None:
            return found
    names = [type(cause).__name__ for cause in causes]
    if any("Timeout" in name for name in names):
        return Breakage.timed_out(phase, seconds)
    if any(name in ("IncompleteRead", "RemoteProtocolError", "ProtocolError", "ReadError", "EndOfStream") for name in names):
        return Breakage(phase, "closed")
    # The exception's own words may repeat a URL: its kind is enough.
    return Breakage(phase, "other", names[-1])


def _known(cause, phase, seconds):
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Breakage(_tls(phase), "certificate", cause.verify_message or "not trusted")
    if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError, http.client.RemoteDisconnected)):
        return Breakage(phase, "closed")
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, TimeoutError):
        return Breakage(_tls(phase), "tls_protocol", cause.reason or "no agreement")
    if isinstance(cause, socket.gaierror):
        # Asked again the name may well have an address: that is another word of getaddrinfo(3).
        given_up = cause.errno == socket.EAI_AGAIN
        return Breakage("dns", "other", "the resolver does not answer") if given_up else Breakage("dns", "not_found")
    if isinstance(cause, TimeoutError):
        return Breakage.timed_out(phase, seconds)
    if isinstance(cause, http.client.BadStatusLine):
        return Breakage.foreign(phase, cause.line.encode("latin-1", "replace"))
    if isinstance(cause, ConnectionRefusedError):
        return Breakage(phase, "refused")
    if isinstance(cause, ConnectionError):
        return Breakage(phase, "reset")
    if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
        return Breakage(phase, "unreachable")
    return None


def _tls(phase):
    """An alert may come after the handshake, as with a client's certificate that is missing."""
    return phase if phase in ("tls", "target_tls") else "target_tls"


def _causes(error):
    """An exception and all that it wraps, the innermost first."""
    seen, found, open_ = set(), [], [error]
    while open_:
        one = open_.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        found.append(one)
        open_ += [getattr(one, name, None) for name in ("__cause__", "__context__", "reason", "original_error")]
        open_ += [*one.args, *getattr(one, "exceptions", ())]
    return reversed(found)
