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
    head, blank, body = said.partition(b"\r\n\r\n")
    if not blank:
        return None, 0
    line, *fields = head.decode("latin-1").split("\r\n")
    _, _, rest = line.partition(" ")
    status, _, reason = rest.partition(" ")
    if not (line.startswith("HTTP/") and status.isdigit()):
        return None, 0
    if status.startswith("1"):
        return read_reply(body)
    pairs = tuple((name, value.strip()) for name, colon, value in (field.partition(":") for field in fields) if colon)
    reply = ConnectReply(int(status), reason, pairs, body[:LONGEST_BODY])
    length = reply.header("Content-Length")
    due = int(length) if length is not None and length.isdigit() else LONGEST_BODY
    return reply, max(min(due, LONGEST_BODY) - len(body), 0)
