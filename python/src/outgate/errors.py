"""What led to an answer, or to none: the attempts, the verdict on the last of them, what the proxy really said."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Story:
    """A response's `outgate`."""

    # Every attempt (`outgate.engine.Attempt`), the last of which got this answer.
    attempts: tuple = ()
    # What the answer means if the engine would have tried to get past it and could not: a ban, a limit, an outage; else None.
    verdict: object = None
    # The proxy's answer to CONNECT (`ConnectReply`): its fields name the exit and the request's id. None without a tunnel.
    reply: object = None
    # The exit that it came through, if the proxy names it.
    exit: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why there is no answer; the facts of an error."""

    sentence: str
    # The fault of the catalogue: `outgate explain SLUG` has its page.
    slug: str | None = None
    # Why no further attempt is made: class, limit, not_repeatable, no_other_exit, deadline, budget, circuit_open, remembered,
    # too_long or no_proxy.
    why: str = "class"
    # In how many seconds asking again makes sense, if that is known.
    retry_after: float | None = None
    attempts: tuple = ()
    verdict: object = None
    # What the proxy answered, with the header fields and the body that other clients hide.
    reply: object = field(default=None, repr=False)

    def __str__(self):
        if self.slug is None:
            return self.sentence
        made = {0: "not asked again", 1: "1 attempt"}.get(len(self.attempts), f"{len(self.attempts)} attempts")
        return f"{self.sentence} ({self.slug}, {made})"


class Failed(Exception):
    """The part that the errors of all libraries share: catch it to catch them all."""

    failure = Failure("the request failed")

    @property
    def slug(self):
        """The fault of the catalogue, or None."""
        return self.failure.slug

    @property
    def why(self):
        """Why no further attempt is made."""
        return self.failure.why

    @property
    def retry_after(self):
        """In how many seconds asking again makes sense, or None."""
        return self.failure.retry_after

    @property
    def attempts(self):
        """Every attempt that was made."""
        return self.failure.attempts

    @property
    def verdict(self):
        """All that was made of the last attempt; None if none was made."""
        return self.failure.verdict

    @property
    def reply(self):
        """What the proxy answered: status, reason, headers, body; None if nothing."""
        return self.failure.reply


class RequestFailed(Exception):
    """A failure on its way to the shell, which raises it as its library's own error."""

    def __init__(self, failure):
        super().__init__(str(failure))
        self.failure = failure


def kind_of(failure):
    """Which of a library's errors it is besides a proxy error: "timeout", "tls" or None."""
    slug = failure.slug or ""
    if failure.why == "deadline" or slug.endswith("_timeout"):
        return "timeout"
    return "tls" if slug in ("tls_handshake_failed", "tls_certificate_invalid", "proxy_tls_failed") else None
