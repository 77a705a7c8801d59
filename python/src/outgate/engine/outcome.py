"""How an attempt ended, as the shell reports it."""

from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime

from ..catalogue import layer
from .rules import SECOND


@dataclass(frozen=True)
class Finding:
    """What an attempt ran into. `wait` is nanoseconds from now on, as the answer named it."""

    slug: str
    retry: str
    # transport, proxy, exit or origin.
    provenance: str
    # account, upstream, domain, exit_on_domain, target or request.
    scope: str
    wait: int | None = None
    why: str = ""

    @classmethod
    def of(cls, verdict, wall, date=None):
        """What a verdict says, for an answer that came at `wall`; None if nothing went wrong.

        A wait that is a date is counted from the answer's own `Date`, if it has one: the clock that wrote both, and not the one
        here, knows how far they are apart.
        """
        if verdict.is_fine:
            return None
        wait = None if verdict.wait is None else max(int(verdict.wait.after(date or wall) * SECOND), 0)
        # Providers whose one 502 stands for all that can go wrong behind them mean no limit of the account by it: the wait that
        # they recommend is this request's.
        vague = verdict.slug == "no_exit" and verdict.confidence != "certain"
        scope = "request" if vague else verdict.scope
        return cls(verdict.slug, verdict.retry, verdict.provenance, scope, wait, verdict.sentence())


def date_of(text):
    """The moment of an HTTP date, or None."""
    try:
        date = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return date.replace(tzinfo=timezone.utc) if date is not None and date.tzinfo is None else date


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: `finding` is None if nothing went wrong."""

    finding: Finding | None = None
    # Whether something of the request had left for the target.
    sent: bool = False
    status: int | None = None
    headers: tuple = ()
    exit: str | None = None


# How far an attempt came, least far first, which is what it proves to be well.
NOWHERE, PROXY, REFUSED, ADMITTED, EXIT, TARGET = range(6)

_REACH = {
    "transport": NOWHERE,
    "client": PROXY,
    "gateway": PROXY,
    "auth": REFUSED,
    "policy": REFUSED,
    "plan": REFUSED,
    "targeting": REFUSED,
    "exit": ADMITTED,
    "target": EXIT,
    "origin": TARGET,
}


def reach(finding):
    """How far an attempt with this finding came."""
    return TARGET if finding is None else _REACH[layer(finding.slug)]


def blames_domain(finding):
    """Whether the domain is to blame for it, as far as one attempt can tell."""
    owner = layer(finding.slug)
    if owner == "origin":
        return finding.slug in (
            "target_unavailable",
            "target_gateway_error",
            "target_error",
            "target_forbidden",
            "target_challenged",
        )
    # That a name does not exist is an answer, and remembered as one; the last two are about one request.
    return owner == "target" and finding.slug not in ("dns_not_found", "response_header_too_large", "upgrade_failed")


def may_be_domain(finding):
    """Whether it may just as well be the target's: held against the domain only while the proxy gets through to others.

    The same goes for a lack of exits that holds no account: some providers have one answer for both.
    """
    if finding.slug == "no_exit":
        return finding.wait is None or finding.scope == "request"
    return finding.slug == "exit_timeout" or (finding.slug == "proxy_reset" and finding.provenance != "transport")


def deterministic(finding):
    """Whether asking the same again gets the same answer, until somebody changes something."""
    if finding.provenance == "origin":
        return False
    if finding.retry == "fix":
        # A login, or what a client sent, is as wrong the second time. What a person must change on the way to the proxy may
        # have been changed meanwhile: a restart looks the same.
        return layer(finding.slug) in ("auth", "client")
    return finding.retry in ("never", "abort")


_LIMITS = {
    "rate_limited",
    "threads_exceeded",
    "auth_throttled",
    "overloaded",
    "draining",
    "ledger_unavailable",
    "no_exit",
    "target_rate_limited",
    "target_unavailable",
}


def states_a_limit(slug):
    """Whether the fault says by itself that something is used up for now, even if no wait is named."""
    return slug in _LIMITS


def about_the_wish(slug):
    """Whether it is about what was asked for besides the target, and not about the account as a whole."""
    return layer(slug) == "targeting" or slug in ("pool_denied", "country_denied")
