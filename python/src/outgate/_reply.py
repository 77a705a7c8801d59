"""What a proxy said to a CONNECT: the answer that other clients hide."""

from dataclasses import dataclass

# The most bytes of a refusal's body that are kept.
LONGEST_BODY = 16 * 1024

# How long the body of a refusal may keep silent. Proxies that mean well send it with the head; others announce one and forget it.
GLANCE = 0.5


@dataclass(frozen=True)
class ConnectReply:
    """The whole answer. `headers` are pairs in the order of their arrival; names as they were written."""

    status: int
    reason: str = ""
    headers: tuple = ()
    body: bytes = b""

    @property
    def opens(self):
        """Whether the tunnel is open: any 2xx (RFC 9110 section 9.3.6)."""
        return 200 <= self.status < 300

    def header(self, name):
        """The value of the first field of this name, or None."""
        name = name.lower()
        return next((value for given, value in self.headers if given.lower() == name), None)


class TunnelRefused(OSError):
    """A proxy answered CONNECT with something else than 2xx."""

    def __init__(self, reply):
        super().__init__(f"Tunnel connection failed: {reply.status} {reply.reason}".rstrip())
        self.reply = reply


def read_reply(said):
    """The answer in the first bytes that a proxy said, and how many bytes of its body are still to come.

    (None, 0) while its head is not whole. A body without a length ends with the connection: then there may always be more.
    """
    status, body = "1", said
    while status.startswith("1"):
        # What comes in front of the answer (1xx) is passed over.
        head, blank, body = body.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        _, _, rest = line.partition(" ")
        status, _, reason = rest.partition(" ")
        if not blank or not line.startswith("HTTP/") or _number(status, 3) is None:
            return None, 0
    pairs = tuple((name, value.strip()) for name, colon, value in (field.partition(":") for field in fields) if colon)
    reply = ConnectReply(int(status), reason, pairs, body[:LONGEST_BODY])
    length = _number(reply.header("Content-Length") or "", 18)
    due = LONGEST_BODY if length is None else length
    return reply, max(min(due, LONGEST_BODY) - len(body), 0)


def _number(text, longest):
    """Of ASCII digits; what a proxy says may be anything."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= longest else None
