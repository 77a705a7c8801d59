"""Whether a failed request is tried again, and when."""

from ..catalogue import layer
from .answer import Done, GiveUp, Retry
from .outcome import deterministic
from .repeat import safe
from .rules import doubled


class Deciding:
    """The engine's part that says what follows an attempt."""

    def _decide(self, now, request, ticket, finding, sent):
        # An answer of the target that asks for nothing but to be read.
        if finding.provenance == "origin" and finding.retry in ("never", "fix", "abort"):
            return Done()
        if not safe(request.ask, sent, finding):
            return GiveUp("not_repeatable")
        if len(request.attempts) >= self.rules.attempts:
            return GiveUp("limit")
        if self._goes_elsewhere(now, request, ticket, finding):
            return self._again(now, now, request, "proxy")
        if deterministic(finding) or finding.retry in ("never", "abort"):
            return GiveUp("class")
        if finding.retry == "rotate" and not self._other_exit(now, request, ticket.proxy):
            return GiveUp("no_other_exit")
        # The exit that a kept session stood for is gone, and with it what the session was for.
        if finding.slug == "session_lost" and request.ask.session is not None:
            return GiveUp("no_other_exit")
        before = request.retries[finding.retry]
        if before >= (self.rules.fix if finding.retry == "fix" else self.rules.transient):
            if finding.retry == "rotate":
                self._take_bans_back(request)
            return GiveUp("limit")
        request.retries[finding.retry] += 1
        rotates = finding.scope == "exit_on_domain" or self._other_exit(now, request, ticket.proxy)
        return self._again(now, now + self._backoff(request, ticket, finding, before), request, "exit" if rotates else "connection")

    def _backoff(self, request, ticket, finding, before):
        """The wait of the request itself. Where a limit holds, its gate says when, and perhaps another proxy can go before."""
        if (finding.retry in ("now", "rotate") and before == 0) or self._holds(request, ticket, finding) in self._gates:
            return 0
        if finding.wait is not None:
            return finding.wait
        return self._random.up_to(doubled(self.rules.backoff_first, before, self.rules.backoff_longest))

    def _goes_elsewhere(self, now, request, ticket, finding):
        """A refusal, or a proxy that can't be reached, is that of one account or proxy: another may serve the request."""
        if finding.provenance == "origin":
            return False
        if finding.scope == "upstream":
            return self._elsewhere(now, request, ticket.proxy, False)
        refused = deterministic(finding)
        of_one = finding.scope == "account" or (finding.scope == "target" and layer(finding.slug) != "target")
        return refused and of_one and self._elsewhere(now, request, ticket.proxy, True)

    def _again(self, now, at, request, fresh):
        """A retry at this moment, if circuit, deadline and budget allow it."""
        circuit = self._circuits.get(request.domain)
        says = circuit.says(now) if circuit else "pass"
        if isinstance(says, int):
            # One that opened just now may have opened for a hiccup: who is on the way waits for the first probe.
            if not circuit.just_opened(self.rules):
                return GiveUp("circuit_open")
            at = max(at, says)
        if at >= request.ask.deadline:
            return GiveUp("deadline")
        return Retry(at, fresh) if self._budget.spend(now) else GiveUp("budget")
