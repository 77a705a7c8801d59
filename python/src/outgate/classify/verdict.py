"""What an attempt came to: the fault, who told it, how sure that is, and what it means for the next attempt."""

from dataclasses import dataclass, replace
from datetime import datetime, timezone

from ..catalogue import ROWS
from .fault import Fault
from .scope import scope_of

# Who told it: nobody, because the way to the proxy or through it broke; the proxy; the exit behind it; the target itself.
TRANSPORT, PROXY, EXIT, ORIGIN = PROVENANCES = ("transport", "proxy", "exit", "origin")

# How sure it is, best first. Certain: the answer names it in a form that only its author can have written, or nothing else
# is possible. Documented: the author of the proxy says in public what this answer means. Likely: the evidence fits this
# best. Guess: the status alone; it may be something else.
CERTAIN, DOCUMENTED, LIKELY, GUESS = CONFIDENCES = ("certain", "documented", "likely", "guess")

# What a wait or a refusal holds.
SCOPES = ("account", "upstream", "domain", "exit_on_domain", "target", "request")


def less_sure(one, other):
    """The less sure of two."""
    return max(one, other, key=CONFIDENCES.index)


@dataclass(frozen=True)
class Wait:
    """A wait as the answer names it: so many seconds from when it came, or until a moment that may have passed."""

    seconds: int | None = None
    until: datetime | None = None

    def after(self, now=None):
        """How many seconds that is from `now` (an aware datetime); 0 if it has passed."""
        if self.seconds is not None:
            return self.seconds
        now = now or datetime.now(timezone.utc)
        return max(0.0, (self.until - now).total_seconds())


@dataclass(frozen=True)
class Verdict:
    """What an attempt came to."""

    # What went wrong; None when nothing did.
    slug: str | None
    # Who told it: one of PROVENANCES.
    provenance: str
    # How sure it is: one of CONFIDENCES.
    confidence: str = CERTAIN
    # Which rule decided, on which evidence; for logs.
    why: str = ""
    # Everything that this evidence fits, `slug` first: more than one where the answer does not tell them apart.
    fits: tuple = ()
    # The wait that the answer names.
    wait: Wait | None = None
    # What a wait or a refusal holds: one of SCOPES.
    scope: str = "request"
    # Whether and how to try again: the fault's class, or what the provider's rule says in its place.
    retry: str = "never"
    # The provider whose rule decided, by its name, and its own code as it wrote it.
    provider: str | None = None
    provider_code: str | None = None
    # What the proxy itself said, as one harmless line.
    said: str | None = None
    # The exit that found the fault, where the answer names one.
    exit: str | None = None
    # The request's id at the proxy, to show to its operator.
    request_id: str | None = None
    # The fault, where the user's end itself raises it (transport, origin, TLS with the target).
    fault: Fault | None = None

    @classmethod
    def fine(cls, provenance, why, confidence=CERTAIN):
        """Nothing went wrong."""
        return cls(None, provenance, confidence, why)

    @classmethod
    def of(cls, slug, provenance, confidence, why):
        """It was this."""
        return cls(slug, provenance, confidence, why, (slug,), scope=scope_of(slug), retry=ROWS[slug].retry)

    @classmethod
    def raised(cls, fault, provenance, confidence, why):
        """A fault that the user's end raises."""
        return replace(cls.of(fault.slug, provenance, confidence, why), fault=fault)

    def but(self, **changes):
        """The same with these fields changed."""
        return replace(self, **changes)

    def also(self, others):
        """These fit as well."""
        return replace(self, fits=tuple(dict.fromkeys((*self.fits, *others))))

    @property
    def is_fine(self):
        """Whether nothing went wrong."""
        return self.slug is None

    def sentence(self):
        """One line for a person: what the proxy said, else the catalogue's sentence with what is known."""
        if self.said is not None:
            return self.said
        if self.fault is not None:
            return self.fault.sentence()
        if self.slug is not None:
            first, point, _ = ROWS[self.slug].cause.partition(". ")
            return first + point.strip()
        return "nothing went wrong"
