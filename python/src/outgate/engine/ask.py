"""What one request asks of the engine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """One request of the program, however many attempts it takes."""

    method: str
    host: str
    port: int
    # When the caller stops waiting.
    deadline: int
    # What is asked of the proxy beside the target, in any spelling.
    targeting: str = ""
    # The session that the request keeps to; None lets every attempt leave through another exit.
    session: str | None = None
    # Whether the target takes repeats once: "by_method" (RFC 9110 section 9.2.2), "recognised" (it carries an
    # Idempotency-Key, or the caller promises it), "never".
    repeat: str = "by_method"
    # Whether the body can be sent again: "kept" or "streamed".
    body: str = "kept"

    def domain(self):
        """The target's domain as limits are kept by it."""
        return self.host.rstrip(".").lower()

    def target(self):
        """`host:port`."""
        return f"{self.domain()}:{self.port}"
