"""What broke without an HTTP status: sockets, names and TLS, with the phase they broke in."""

from dataclasses import dataclass

# How far an attempt had come: resolving the proxy's name; opening a TCP connection to it; TLS with the proxy itself; the
# request is sent and no whole answer to it is there; the answer had begun; TLS with the target inside an open tunnel; bytes
# inside an open tunnel.
PHASES = ("dns", "tcp", "tls", "ask", "body", "target_tls", "tunnel")

# In which manner it broke: the name has no address; the connection was refused; there is no route; nothing came in time;
# a reset; a clean end where more was due; a certificate that is not trusted; TLS that could not be agreed on, or an alert;
# bytes of another protocol; anything else.
MANNERS = (
    "not_found",
    "refused",
    "unreachable",
    "timed_out",
    "reset",
    "closed",
    "certificate",
    "tls_protocol",
    "foreign",
    "other",
)

# What a person calls the protocols whose bytes came instead of an answer.
FOREIGN = {
    "tls": "TLS",
    "socks5": "SOCKS5",
    "socks4": "SOCKS4",
    "ssh": "SSH",
    "greeting": "a mail or FTP server",
    "http2": "HTTP/2",
    "http": "HTTP",
    "unknown": "something unknown",
}

# What a certificate, TLS and anything else say of themselves; the rest has these words.
_TOLD = {
    "not_found": "no such name",
    "refused": "a refusal",
    "unreachable": "no route",
    "timed_out": "silence",
    "reset": "a reset",
    "closed": "a close",
}


@dataclass(frozen=True)
class Breakage:
    """Something that broke."""

    # One of PHASES.
    phase: str
    # One of MANNERS.
    manner: str
    # For `certificate`, `tls_protocol` and `other` why, in words; for `foreign` one of FOREIGN.
    what: str = ""
    # For `timed_out` how long the wait was.
    seconds: float = 0.0

    def __post_init__(self):
        if self.phase not in PHASES:
            raise ValueError(f"there is no phase {self.phase!r}: it is one of {', '.join(PHASES)}")
        if self.manner not in MANNERS:
            raise ValueError(f"nothing breaks as {self.manner!r}: it is one of {', '.join(MANNERS)}")
        if self.manner == "foreign" and self.what not in FOREIGN:
            raise ValueError(f"there is no protocol {self.what!r}: it is one of {', '.join(FOREIGN)}")

    @classmethod
    def timed_out(cls, phase, seconds):
        """A deadline of ours that passed."""
        return cls(phase, "timed_out", seconds=seconds)

    @classmethod
    def foreign(cls, phase, first):
        """Bytes that are no answer: `first` are the first of them."""
        protocol = protocol_of(first)
        return cls(phase, "closed") if protocol is None else cls(phase, "foreign", protocol)

    def told(self):
        """In few words."""
        if self.manner == "foreign":
            return FOREIGN[self.what]
        return _TOLD.get(self.manner, self.what)


def protocol_of(first):
    """Tells a protocol by its first bytes: one of FOREIGN. None if there are none."""
    match tuple(first[:4]):
        case ():
            return None
        case (0x14 | 0x15 | 0x16 | 0x17, 0x03, *_):
            return "tls"
        case (0x05,):
            return "socks5"
        case (0x05, method, *_) if method <= 8 or method == 0xFF:
            return "socks5"
        case (0x00, reply, *_) if 0x5A <= reply <= 0x5D:
            return "socks4"
        # A SETTINGS frame: three bytes of length, type 4.
        case (0x00, _, _, 0x04):
            return "http2"
    for begins, protocol in ((b"SSH-", "ssh"), (b"HTTP/", "http"), (b"220", "greeting")):
        if first.startswith(begins):
            return protocol
    return "unknown"
