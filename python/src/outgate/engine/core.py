"""The engine itself: admission, and the report of an attempt."""

from . import whose as names
from .answer import Blocked, Choice, Done, Go, Pending, Refused, Retry, Ticket, Wait
from .attempt import Attempt
from .choosing import Choosing
from .deciding import Deciding
from .keeping import Budget, Health, Kept, Random, Sessions
from .learning import Learning
from .limits import Circuit
from .rules import SECOND, Rules


class Engine(Choosing, Learning, Deciding):
    """Decides for all requests of a program. The same seed and calls give the same decisions."""

    def __init__(self, proxies, rules=None, seed=0):
        self.rules = rules or Rules()
        self.proxies = list(proxies)
        self._health = [Health() for _ in self.proxies]
        self._sessions = [Sessions() for _ in self.proxies]
        kept = self.rules.most_kept
        self._gates, self._heard, self._bans, self._circuits, self._silent = (Kept(kept) for _ in range(5))
        self._budget = Budget(self.rules)
        self._random = Random(seed)
        self._serial = 0

    def admit(self, now, request):
        """Whether the request may make an attempt now: `Go`, `Wait` or `Refused`.

        The order is fixed: deadline, the target's circuit, what is remembered of it, the domain's limit, then the proxies.
        """
        if request.begun is None:
            request.begun = now
            self._budget.earn(now)
        if request.asked is None:
            request.asked = now
        try:
            if now >= request.ask.deadline:
                raise Blocked(Refused("deadline", None, "the request's deadline has passed"))
            self._target(now, request)
            return Go(self._go(now, request, *self._lane(now, request)))
        except Blocked as blocked:
            if isinstance(blocked.admission, Refused):
                self._ended(now, request)
            return blocked.admission

    def _target(self, now, request):
        """What is known of the target, whoever carries the request there; raises `Blocked`."""
        circuit = self._circuits.get(request.domain)
        says = circuit.says(now) if circuit else "pass"
        if isinstance(says, int):
            # Who was on the way when it opened waits for the first probe; all others fail fast.
            if request.attempts and circuit.just_opened(self.rules) and says < request.ask.deadline:
                raise Blocked(Wait(says, circuit.slug, names.shown(names.domain(request))))
            cause = f"too many requests to {request.domain} failed: none is made for now"
            raise Blocked(Refused("circuit_open", circuit.slug, cause, says))
        for whose in (names.domain(request), names.target(request)):
            heard = self._heard.get(whose)
            if heard is not None and heard.stands(now):
                raise Blocked(Refused("remembered", heard.slug, heard.why, heard.again()))
        domain = names.domain(request)
        gate = self._gates.get(domain)
        if gate is not None and not gate.passes(now, request.places.get(domain)):
            raise Blocked(self._wait(now, request, domain, gate.until))

    def _go(self, now, request, number, session):
        """Lets an attempt go: every limit it passes, and every refusal it asks again, hears of it."""
        self._serial += 1
        ticket = Ticket(self._serial, number, session, now, max(now - request.asked, 0))
        request.asked = None
        for whose in self._involved(request, ticket):
            if whose in self._gates:
                self._gates[whose].pass_(now, ticket.serial, self.rules)
            if whose in self._heard:
                self._heard[whose].ask(now, ticket.serial, self.rules)
        circuit = self._circuits.get(request.domain)
        if circuit and circuit.says(now) == "probe":
            circuit.probe(now, ticket.serial, self.rules.attempt_timeout)
        request.places.clear()
        request.flying += 1
        first = request.number() == 1
        deadline = min(request.ask.deadline, now + self.rules.attempt_timeout)
        return Choice(number, session, "any" if first else "fresh", request.number(), deadline, ticket)

    def opened(self, now, request, ticket):
        """The proxy opened the tunnel, or began to answer: its account was let in, which others may be waiting for."""
        for whose in self._refusers(request, ticket.proxy):
            self._heard.pop(whose, None)
            gate = self._gates.get(whose)
            if gate is not None and gate.came_through(now, ticket.began):
                del self._gates[whose]

    def report(self, now, request, ticket, outcome, wall=0.0):
        """What follows an attempt that ended: `Done`, `Retry`, `GiveUp`, or `Pending`. `wall` is Unix time in seconds."""
        self._log(now, wall, request, ticket, outcome)
        request.flying = max(request.flying - 1, 0)
        self._learn(now, request, ticket, outcome.finding)
        if outcome.finding is None:
            next_ = Done()
        elif request.flying > 0:
            return Pending()
        else:
            next_ = self._decide(now, request, ticket, outcome.finding, outcome.sent)
        if not isinstance(next_, Retry):
            self._ended(now, request)
        return next_

    def abandon(self, now, request, ticket):
        """An attempt that was given up without an outcome: the caller went away."""
        request.flying = max(request.flying - 1, 0)
        if request.ask.session is None and ticket.session is not None:
            self._sessions[ticket.proxy].give_back(ticket.session)
        for whose in self._involved(request, ticket):
            for kept in (self._gates, self._heard):
                if whose in kept:
                    kept[whose].told_nothing(ticket.serial)
        if circuit := self._circuits.get(request.domain):
            circuit.told_nothing(now, ticket.serial)

    def _ended(self, now, request):
        """A request has ended: its domain counts it, unless what failed had nothing to do with the domain."""
        last = request.attempts[-1] if request.attempts else None
        tells = request.blamed is not None or (last is not None and last.slug is None)
        if not tells or request.counted:
            return
        request.counted = True
        circuit = self._circuits.enter(now, request.domain, lambda: Circuit(self.rules))
        circuit.ended(now, request.blamed, self.rules)

    def _log(self, now, wall, request, ticket, outcome):
        took = max(now - ticket.began, 0) / SECOND
        finding = outcome.finding
        request.attempts.append(
            Attempt(
                at=wall - took,
                number=request.number(),
                proxy=self.proxies[ticket.proxy].name,
                session=ticket.session,
                exit=outcome.exit,
                target=request.target,
                status=outcome.status,
                slug=finding and finding.slug,
                provenance=finding and finding.provenance,
                waited=ticket.waited / SECOND,
                took=took,
                headers=outcome.headers,
            )
        )
