"""What an outcome teaches about everything else: limits, refusals, exits, proxies, the domain."""

from ..catalogue import layer
from . import whose as names
from .limits import Circuit, Gate, Heard, Silent, Until
from .outcome import (
    ADMITTED,
    EXIT,
    NOWHERE,
    PROXY,
    REFUSED,
    TARGET,
    about_the_wish,
    blames_domain,
    deterministic,
    may_be_domain,
    reach,
    states_a_limit,
)
from .proxy import ONE, ROTATING
from .rules import doubled


class Learning:
    """The engine's part that takes in what an attempt came to."""

    def _learn(self, now, request, ticket, finding):
        far = reach(finding)
        refusal = finding and self._remembered_as(request, ticket, finding)
        limit = finding and self._holds(request, ticket, finding)
        if refusal:
            heard = self._heard.enter(now, refusal, lambda: Heard(finding.slug))
            heard.hear(now, ticket.began, finding.slug, finding.why, finding.wait, self.rules)
        if limit:
            self._close(now, limit, ticket, finding)
        self._exit_and_proxy(now, request, ticket, finding, far)
        self._domain(now, request, ticket, finding, far)
        self._open_what_came_through(now, request, ticket, far, finding, refusal, limit)

    def _remembered_as(self, request, ticket, finding):
        """Under which name the refusal is remembered; None if it is no deterministic one of the proxy's."""
        if not deterministic(finding):
            return None
        proxy = self.proxies[ticket.proxy]
        if finding.scope == "account":
            return names.wish(proxy, request) if about_the_wish(finding.slug) else names.account(proxy)
        if finding.scope == "upstream":
            return names.upstream(ticket.proxy, proxy)
        if finding.scope == "domain":
            return names.domain(request)
        if finding.scope == "target":
            # Of the target itself nobody's account matters; a policy is that of one proxy.
            return names.target(request) if layer(finding.slug) == "target" else names.place(proxy, request)
        return None

    def _holds(self, request, ticket, finding):
        """Which limit was met; None if it is no limit, or one that choosing differently gets past."""
        named = finding.wait is not None
        if deterministic(finding) or finding.retry != "backoff" or not (named or states_a_limit(finding.slug)):
            return None
        proxy = self.proxies[ticket.proxy]
        if finding.scope == "account":
            if finding.slug != "no_exit":
                return names.account(proxy)
            # A provider without a wait to name often says the same of a target that is down. Were that believed, requests for
            # such a target, which come back first, would hold all others again and again.
            return names.wish(proxy, request) if named else None
        if finding.scope == "upstream":
            return names.upstream(ticket.proxy, proxy)
        if finding.scope == "exit_on_domain":
            # The next connection leaves through another exit anyway.
            if request.ask.session is None and proxy.exits == ROTATING:
                return None
            return names.lane(ticket.proxy, ticket.session, request)
        if finding.scope in ("domain", "target"):
            silent = self._silent.get(request.domain)
            many = silent is not None and silent.in_a_row + 1 >= self.rules.in_a_row
            return names.domain(request) if named or many else None
        return None

    def _close(self, now, whose, ticket, finding):
        """Closes the gate of a limit that was met."""
        gate = self._gates.get(whose)
        guess = self._guess(whose, 0 if gate is None else gate.strikes)
        wait = None if finding.wait is None else min(finding.wait, self.rules.longest_wait)
        gate = self._gates.enter(now, whose, lambda: Gate(now, finding.slug, finding.why))
        gate.slug, gate.why = finding.slug, finding.why
        gate.meet(now, ticket.began, wait, guess)

    def _guess(self, whose, strikes):
        """How long to keep away when the answer did not say."""
        rules = self.rules
        if whose[0] == "proxy":
            longest = doubled(rules.hold, strikes, rules.hold_longest)
        else:
            # Two seconds after the first, then four, then eight: half of it certain.
            longest = doubled(rules.backoff_first * 2, strikes, rules.backoff_longest)
        return longest // 2 + self._random.up_to(longest // 2)

    def _exit_and_proxy(self, now, request, ticket, finding, far):
        made_up = request.ask.session is None
        if made_up and ticket.session is not None:
            self._sessions[ticket.proxy].give_back(ticket.session)
        lane = names.lane(ticket.proxy, ticket.session, request)
        health = self._health[ticket.proxy]
        if finding is None:
            health.went_well()
            health.well = now
            self._bans.pop(lane, None)
            return
        if far >= REFUSED and far != ADMITTED:
            health.went_well()
        if far == TARGET:
            health.well = now
        if finding.slug in ("target_forbidden", "target_challenged"):
            until = now + self.rules.ban
            self._bans.enter(now, lane, lambda: Until(until)).until = until
            request.banned.append(lane)
        if made_up and ticket.session is not None:
            if far == ADMITTED and finding.slug != "no_exit":
                self._sessions[ticket.proxy].forget(ticket.session)
            request.spent.append(ticket.session)
        # What a person must change fails elsewhere too, and what is limited has a gate of its own.
        trouble = (
            far == NOWHERE
            or (far == PROXY and finding.provenance == "proxy" and not deterministic(finding) and finding.wait is None)
            or (far == ADMITTED and finding.slug != "no_exit")
        )
        if trouble:
            self._proxy_failed(now, request, ticket, finding)
        own_exit = self.proxies[ticket.proxy].exits == ONE and far in (EXIT, TARGET)
        if (trouble or own_exit) and ticket.proxy not in request.failed:
            request.failed.append(ticket.proxy)

    def _proxy_failed(self, now, request, ticket, finding):
        health = self._health[ticket.proxy]
        health.failed()
        # Where others can do its work, holding one costs nothing: once is enough for what does not pass by itself.
        at_once = finding.retry == "fix" and self._elsewhere(now, request, ticket.proxy, False)
        if health.in_a_row >= (1 if at_once else self.rules.in_a_row):
            self._close(now, names.upstream(ticket.proxy, self.proxies[ticket.proxy]), ticket, finding)

    def _domain(self, now, request, ticket, finding, far):
        if finding and finding.slug == "target_unavailable" and finding.wait is None:
            silent = self._silent.enter(now, request.domain, lambda: Silent(now))
            silent.in_a_row += 1
            silent.seen = now
        elif far == TARGET:
            self._silent.pop(request.domain, None)
        well = self._health[ticket.proxy].well
        others_get_through = well is not None and well >= ticket.began
        blamed = finding and (blames_domain(finding) or (may_be_domain(finding) and others_get_through))
        request.blamed = finding.slug if blamed else None
        if blamed:
            circuit = self._circuits.enter(now, request.domain, lambda: Circuit(self.rules))
            circuit.failed(now, ticket.serial, finding.slug, self.rules)
        elif circuit := self._circuits.get(request.domain):
            if far == TARGET:
                circuit.answered(now, ticket.serial, self.rules)
            else:
                circuit.told_nothing(now, ticket.serial)

    def _open_what_came_through(self, now, request, ticket, far, finding, refused, met):
        """Opens the gates, and forgets the refusals, that the attempt has shown to be over."""
        held_now = self._health[ticket.proxy].in_a_row > 0
        for whose in self._involved(request, ticket):
            kind = whose[0]
            if kind == "proxy":
                over = far == REFUSED or (far >= EXIT and not held_now)
            elif kind == "account":
                over = far >= ADMITTED
            elif kind in ("wish", "place"):
                over = far >= ADMITTED and (finding is None or finding.slug != "no_exit")
            else:
                over = far == TARGET
            gate = self._gates.get(whose)
            if met != whose and gate is not None:
                if not over:
                    gate.told_nothing(ticket.serial)
                elif gate.came_through(now, ticket.began):
                    del self._gates[whose]
            if refused != whose and whose in self._heard:
                if over:
                    del self._heard[whose]
                else:
                    self._heard[whose].told_nothing(ticket.serial)

    def _involved(self, request, ticket):
        """Every name under which something may hold an attempt."""
        return [
            *self._refusers(request, ticket.proxy),
            names.lane(ticket.proxy, ticket.session, request),
            names.domain(request),
            names.target(request),
        ]

    def _take_bans_back(self, request):
        """Every exit was refused: the target judges the request and not the exits."""
        for lane in request.banned:
            self._bans.pop(lane, None)
        request.banned.clear()

    def changed(self, number):
        """The account or proxy is as good as new: what it refused is forgotten, and asked for real by the next request."""
        drawn_on = self.proxies[number].drawn_on

        def its(whose):
            if whose[0] in ("account", "wish", "place"):
                return whose[1] == drawn_on
            return whose[0] in ("proxy", "lane") and whose[1] == number

        self._heard.forget(its)
        self._gates.forget(its)
