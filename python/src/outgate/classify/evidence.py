"""What is known of an attempt, however it ended: all that a verdict may rest on."""

from dataclasses import dataclass

from . import fault
from .breakage import Breakage
from .fields import Fields

# How the request was put, which decides who can have given the answer.
# The answer to a CONNECT: only a proxy can have given it.
CONNECT = "connect"
# A request in absolute form: the proxy or, passed through, the target.
FORWARDED = "forwarded"
# SOCKS5 up to its final reply.
SOCKS = "socks"
# What came through an open tunnel: the target's, unless somebody on the way opens TLS.
TUNNELLED = "tunnelled"
# Past any proxy, to compare.
DIRECT = "direct"

WAYS = (CONNECT, FORWARDED, SOCKS, TUNNELLED, DIRECT)

# How many bytes of a body are looked at.
BODY = 16 * 1024


@dataclass(frozen=True)
class SocksSaid:
    """What a SOCKS5 server said last.

    `no_method`: it chose none of the offered ways to log in (RFC 1928 section 3, method FF). `login`: the status of a login
    (RFC 1929 section 2), `reply`: the reply to the request (RFC 1928 section 6), both with their byte; 0 is success.
    `too_long`: nothing, because user name or password are longer than the protocol has room for.
    """

    kind: str
    byte: int = 0

    def __post_init__(self):
        if self.kind not in ("no_method", "login", "reply", "too_long"):
            raise ValueError(f"SOCKS says no {self.kind!r}")


@dataclass
class Evidence:
    """An attempt and what came of it. All but the way is optional: most clients show no more than a status."""

    way: str
    # Both are host:port, the proxy's without credentials; they may be empty.
    proxy: str = ""
    target: str = ""
    status: int | None = None
    # The status line's text.
    reason: str | None = None
    # Fields as they came: pairs, or anything with `items()`.
    headers: Fields = ()
    # The body or its beginning.
    body: bytes | None = None
    socks: SocksSaid | None = None
    # What broke, before or after an answer.
    breakage: Breakage | None = None
    # A `Provider`: whose proxy it is, when that is configured. Without it the proxy's host and the answer's fields may tell.
    provider: object = None

    def __post_init__(self):
        if self.way not in WAYS:
            raise ValueError(f"there is no way {self.way!r}: it is one of {', '.join(WAYS)}")
        self.headers = Fields.of(self.headers)

    @property
    def host(self):
        """The target's host, without its port and brackets."""
        return host_of(self.target)

    @property
    def proxy_host(self):
        """The proxy's host in lower case, without its port and brackets."""
        return host_of(self.proxy).lower()

    def text(self):
        """The part of the body that is looked at, as text."""
        return (self.body or b"")[:BODY].decode("utf-8", "replace")

    def raw_line(self):
        """The one line that a proxy's plain answer consists of, or None; pages are for people and no line."""
        line = self.text().strip()
        page = line.startswith(("<", "{")) or "\n" in line
        return line if line and not page else None

    def line(self):
        """The same made harmless, to be shown."""
        line = self.raw_line()
        return None if line is None else fault.render(line)

    def is_bare(self):
        """Whether there is no page in it: nothing, or one plain line."""
        return not self.text().strip() or self.raw_line() is not None


def host_of(target):
    """`host` of `host:port`, `[host]:port` or `host`."""
    if target.startswith("["):
        return target[1:].split("]")[0]
    host, colon, port = target.partition(":")
    return host if colon and ":" not in port else target
