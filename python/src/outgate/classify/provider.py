"""One provider, or one program that is a proxy: how its own answers are known, and the rules that it publishes."""

import re
from dataclasses import dataclass

from . import proxy_status, rules

_CODE = re.compile("[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True)
class Own:
    """How a provider's own answers are known."""

    # Fields that only its own errors have; of those, the ones whose value is a code, and whose value is a sentence.
    headers: tuple = ()
    codes: tuple = ()
    texts: tuple = ()
    # How `Server` or `Proxy-Agent` begins in them, in lower case.
    servers: tuple = ()
    # Its name in `Proxy-Status`, where the code stands in front of the `details`.
    proxy_status: tuple = ()
    # What an error without any of these means on a forwarded request: "origin" if the provider promises that the target said
    # it, else "unknown".
    absent: str = "unknown"
    # What it does with TLS inside a tunnel: "opened", so that its own errors may come through the tunnel too, or "carried".
    tunnel: str = "carried"

    @property
    def is_empty(self):
        """Whether nothing is its own."""
        return not (self.headers or self.servers or self.proxy_status)


@dataclass(frozen=True)
class Provider:
    """A provider."""

    # The name that configuration uses, and what its maker calls it.
    name: str
    title: str
    # Where its rules come from unless a rule says otherwise, and the day on which that was read.
    source: str
    verified_on: str
    # Whether so little is published that the generic rules do most of the work.
    thin: bool = False
    # The host names of its proxies, with everything below them.
    hosts: tuple = ()
    # The dialect of Outgate that it speaks; None if it is of another make.
    dialect: str | None = None
    own: Own = Own()
    # A page of its own that shows one's exit.
    check_url: str | None = None
    rules: tuple = ()

    def is_marked(self, headers):
        """Whether the answer has a field that only its own errors have."""
        return any(map(headers.has, self.own.headers)) or self._is_served(headers) or self._hop(headers) is not None

    @property
    def promises_marks(self):
        """Whether an error without such a field is the target's, by the provider's own word."""
        return self.own.absent == "origin"

    @property
    def opens_tunnels(self):
        """Whether it opens TLS in tunnels."""
        return self.own.tunnel == "opened"

    def rule(self, sent):
        """The rule that fits what it sent best, as `Matched`, or None."""
        return rules.best(self.rules, sent)

    def also(self, sent):
        """What else it may mean: at another of its hosts, where it is not known which one was asked, and in words that were
        not seen."""
        there = [] if self.has_host(sent.host) else rules.elsewhere(self.rules, sent)
        return there + rules.unseen(self.rules, sent)

    def code(self, headers):
        """The provider's own code in an answer, as it wrote it, or None."""
        field = next(filter(headers.has, self.own.codes), None)
        code = headers.first(field).strip('"') if field else ""
        if code:
            return code
        hop = self._hop(headers)
        code = (hop and hop.parameter("details") or "").split(":")[0].strip()
        return code if _CODE.fullmatch(code) else None

    def text(self, headers):
        """The provider's own sentence in an answer's fields, or None."""
        field = next(filter(headers.has, self.own.texts), None)
        if field:
            return headers.first(field) or None
        hop = self._hop(headers)
        text = hop and hop.parameter("details") or ""
        return text if text.strip() else None

    def has_host(self, host):
        """Whether a proxy of this name is its own."""
        return any(rules.under(host, zone) for zone in self.hosts)

    def _is_served(self, headers):
        by = [(headers.first(name) or "").lower() for name in ("Server", "Proxy-Agent")]
        return any(name.startswith(server) for server in self.own.servers for name in by)

    def _hop(self, headers):
        """Its own member of `Proxy-Status`, the nearest with an error, or None."""
        if not self.own.proxy_status or not headers.has("Proxy-Status"):
            return None
        names = {name.lower() for name in self.own.proxy_status}
        hops = reversed(proxy_status.members(headers))
        return next((hop for hop in hops if hop.error and hop.hop.lower() in names), None)
