"""Through what an attempt goes: the lowest tier that can, by weight and health, past what is held or refused."""

from . import whose as names
from .answer import Blocked, Refused, Wait
from .proxy import ONE, ROTATING

_FREE, _HELD, _REFUSED = "free", "held", "refused"


class Choosing:
    """The engine's part that finds a lane."""

    def _lane(self, now, request):
        """A proxy and a session for the next attempt; raises `Blocked` with what is to be answered instead."""
        held = refused = None
        free = []
        for number in self._eligible(request):
            standing, *what = self._standing(now, request, number)
            if standing == _FREE:
                free.append((self._rank(now, request, number), number))
            elif standing == _HELD and (held is None or what[1] < held[1]):
                held = what
            elif standing == _REFUSED and (refused is None or what[2] < refused[2]):
                refused = what
        if free:
            best = min(rank for rank, _ in free)
            number = self._draw([number for rank, number in free if rank == best])
            return number, self._session(now, request, number)
        if held is not None:
            raise Blocked(self._wait(now, request, *held))
        if refused is not None:
            raise Blocked(Refused("remembered", *refused))
        raise Blocked(Refused("no_proxy", None, "no proxy is configured that may carry the request"))

    def _wait(self, now, request, whose, until):
        """A place in the queue of a limit, unless it ends too late for the request."""
        gate = self._gates.get(whose)
        if gate is None:
            return Wait(now, None, names.shown(whose))
        if until >= request.ask.deadline:
            return Refused("too_long", gate.slug, gate.why, until)
        place = gate.queue(now, request.places.get(whose))
        request.places[whose] = place
        return Wait(min(place, request.ask.deadline), gate.slug, names.shown(whose))

    def _elsewhere(self, now, request, than, other_account):
        """Whether another proxy could take the request now that this one can't."""
        mine = self.proxies[than].drawn_on
        return any(
            number != than
            and not (other_account and self.proxies[number].drawn_on == mine)
            and number not in request.failed
            and self._standing(now, request, number)[0] != _REFUSED
            for number in self._eligible(request)
        )

    def _other_exit(self, now, request, than):
        """Whether the request could leave through an exit that it has not tried."""
        if request.ask.session is not None:
            return False
        if self.proxies[than].exits != ONE:
            return True
        return any(number != than and not self._rank(now, request, number)[0] for number in self._eligible(request))

    def _eligible(self, request):
        numbers = [number for number, proxy in enumerate(self.proxies) if proxy.weight > 0]
        session = request.ask.session
        if session is None or not numbers:
            return numbers
        # A kept session stays with one proxy, whatever happens to the others: the one with the highest hash of both names.
        tier = min(self.proxies[number].tier for number in numbers)
        of_tier = [number for number in numbers if self.proxies[number].tier == tier]
        return [max(of_tier, key=lambda number: (_hash(session, self.proxies[number].name), number))]

    def _standing(self, now, request, number):
        for whose in self._refusers(request, number):
            heard = self._heard.get(whose)
            if heard is not None and heard.stands(now):
                return _REFUSED, heard.slug, heard.why, heard.again()
        longest = None
        for whose in self._holders(request, number):
            gate = self._gates.get(whose)
            if gate is None or gate.passes(now, request.places.get(whose)):
                continue
            if longest is None or gate.until > longest[1]:
                longest = (whose, gate.until)
        return (_FREE,) if longest is None else (_HELD, *longest)

    def _refusers(self, request, number):
        """Under which names this proxy's refusals of the request are remembered."""
        proxy = self.proxies[number]
        return [names.upstream(number, proxy), names.account(proxy), names.wish(proxy, request), names.place(proxy, request)]

    def _holders(self, request, number):
        """Which limits hold this proxy for the request; its made-up sessions are chosen past theirs."""
        proxy = self.proxies[number]
        holders = [names.upstream(number, proxy), names.account(proxy), names.wish(proxy, request)]
        if request.ask.session is not None or proxy.exits == ONE:
            holders.append(names.lane(number, request.ask.session, request))
        return holders

    def _rank(self, now, request, number):
        """What is taken first: what this request has not failed with, then the lower tier."""
        spoiled = number in request.failed or self._banned(now, names.lane(number, None, request))
        return spoiled, self.proxies[number].tier

    def _banned(self, now, lane):
        ban = self._bans.get(lane)
        return ban is not None and now < ban.until

    def _draw(self, among):
        """One of these by weight, the ones that do well more often."""
        shares = [self.proxies[number].weight * max(self._health[number].share, 1) for number in among]
        drawn = self._random.below(sum(shares))
        for number, share in zip(among, shares, strict=True):
            if drawn < share:
                return number
            drawn -= share
        return among[0]

    def _session(self, now, request, number):
        exits = self.proxies[number].exits
        if request.ask.session is not None:
            return request.ask.session
        if exits in (ONE, ROTATING):
            return None

        def fits(name):
            lane = names.lane(number, name, request)
            gate = self._gates.get(lane)
            return (gate is None or gate.passes(now, None)) and not self._banned(now, lane) and name not in request.spent

        return self._sessions[number].take(now, exits, self._random, fits)


def _hash(session, proxy):
    """FNV-1a over both words: the same everywhere and in every run."""
    value = 0xCBF29CE484222325
    for byte in session.encode() + b"\0" + proxy.encode():
        value = ((value ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    return value
