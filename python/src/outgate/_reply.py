"""What a proxy said to a CONNECT: the answer that other clients hide."""

from dataclasses import dataclass, field

# The most bytes of a refusal's body that are kept.
LONGEST_BODY = 16 * 1024


@dataclass(frozen=True)
class ConnectReply:
    """The whole answer. `headers` are pairs in the order of their arrival; names as they were written."""

    status: int
    reason: str = ""
    headers: tuple = ()
    body: bytes = b""

    def header(self, name):
        """The value of the first field of this name, or None."""
        name = name.lower()
        return next((value for given, value in self.headers if given.lower() == name), None)


class TunnelRefused(OSError):
    """A proxy answered CONNECT with something else than 200."""

    def __init__(self, reply):
        super().__init__(f"Tunnel connection failed: {reply.status} {reply.reason}".rstrip())
        self.reply = reply


@dataclass
class Sent:
    """How much of a request had left when its attempt ended."""

    something: bool = field(default=False)
