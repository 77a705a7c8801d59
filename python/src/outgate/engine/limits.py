"""What holds requests back: gates of limits, remembered refusals, bans of exits, circuits of domains."""

from .rules import MILLI, SECOND, doubled

# How far apart waiters are told to ask again.
_STEP = 10 * MILLI
# The pace after a first limit; each further one halves it, each success quickens it by a tenth.
_FIRST_PACE, _SLOWEST_PACE, _QUICKEST_PACE = 10 * MILLI, 250 * MILLI, 1 * MILLI
_MINUTE, _HOUR = 60 * SECOND, 3600 * SECOND

CLOSED, PROBING, PACING, OPEN = "closed", "probing", "pacing", "open"


class Gate:
    """A limit: nothing passes until it ends, then one as a probe, then one after the other at a quickening pace."""

    def __init__(self, now, slug, why):
        self.until = now
        self.slug = slug
        self.why = why
        self.strikes = 0
        self._named = False
        self._since = now
        self._stage = PACING
        self._probe = (0, 0)
        self._pace = _QUICKEST_PACE
        self._next = now
        self._last = 0

    def passes(self, now, place):
        """Whether one may pass now that was given this place before, if any."""
        if now < self.until:
            return False
        if self._stage == PROBING:
            free = now >= self._probe[1]
        else:
            free = self._stage == CLOSED or now >= self._next
        # Whoever comes new goes behind those that wait.
        return free and (self._last < now or (place is not None and place <= now))

    def queue(self, now, place):
        """A place in the queue: when to ask again."""
        if place is not None and place > now and place >= self.until:
            return place
        self._last = max(self.until, self._last + _STEP, now + _STEP)
        return self._last

    def pass_(self, now, serial, rules):
        """An attempt passed."""
        if self._stage == PACING:
            self._next = now + self._pace
        else:
            self._stage = PROBING
            self._probe = (serial, now + rules.probe)

    def meet(self, now, began, wait, guess):
        """The limit was met by an attempt that began then."""
        # What was on its way when the gate closed tells nothing that was not known then, but a longer wait counts.
        if self.strikes == 0 or began >= self._since:
            self.strikes += 1
            self._pace = max(self._pace, _FIRST_PACE) if self.strikes == 1 else min(self._pace * 2, _SLOWEST_PACE)
            self._since = now
            self._stage = CLOSED
            self._named = wait is not None
            self.until = now + (guess if wait is None else wait)
        elif wait is not None:
            self._named = True
            self.until = max(self.until, now + wait)

    def came_through(self, now, began):
        """An attempt that began then came through. Whether the gate holds nobody any more."""
        if began < self._since:
            # One from before the limit. A wait that the answer named is kept; one that was only guessed was wrong.
            if not self._named and now < self.until:
                self.until = now
            return False
        self.strikes = 0
        if self._stage != PACING:
            self._stage = PACING
            self._next = now
        self._pace = self._pace * 9 // 10
        return self._pace < _QUICKEST_PACE and self._last <= now

    def told_nothing(self, serial):
        """The probe ended without telling anything about the limit: the next one is the probe."""
        if self._stage == PROBING and self._probe[0] == serial:
            self._stage = CLOSED

    def ends(self):
        """A minute after its wait the pace is worth nothing either."""
        return self.until + _MINUTE


class Heard:
    """A refusal that would be repeated word for word: asked once, remembered for a short time, answered here."""

    def __init__(self, slug):
        self.slug = slug
        self.why = ""
        self.until = 0
        self._times = 0
        self._since = 0
        # The one that asks again, and when it counts as lost.
        self._asking = None

    def stands(self, now):
        """Whether the answer is known without asking. When its time is over, one asks and the others are still told."""
        return now < self.until or (self._asking is not None and now < self._asking[1])

    def again(self):
        """When a real attempt may be made again, as far as is known."""
        return self.until if self._asking is None else self._asking[1]

    def ask(self, now, serial, rules):
        """One asks again."""
        self._asking = (serial, now + rules.attempt_timeout)

    def hear(self, now, began, slug, why, wait, rules):
        """It was heard (again) by an attempt that began then."""
        if self._times == 0 or began >= self._since:
            self._times += 1
            self._since = now
        self._asking = None
        self.slug = slug
        self.why = why
        longest = doubled(rules.remember, self._times - 1, rules.remember_longest)
        self.until = max(self.until, now + (longest if wait is None else min(wait, rules.longest_wait)))

    def told_nothing(self, serial):
        """The one that asked told nothing about it."""
        if self._asking is not None and self._asking[0] == serial:
            self._asking = None

    def ends(self):
        """When it can be forgotten."""
        return self.until + _MINUTE


class Until:
    """Something that holds until a moment: an exit that a target refuses."""

    def __init__(self, until):
        self.until = until

    def ends(self):
        """When it can be forgotten."""
        return self.until


class Silent:
    """Answers 503 of a domain that name no wait, in a row."""

    def __init__(self, now):
        self.in_a_row = 0
        self.seen = now

    def ends(self):
        """When it can be forgotten."""
        return self.seen + _MINUTE


class Circuit:
    """A domain's circuit: closed, open, or being probed. Requests are counted, and attempts that failed in a row."""

    _PARTS = 10

    def __init__(self, rules):
        self._parts = []
        self._run = 0
        self._state = CLOSED
        self._until = 0
        self._serial = 0
        self._cooldown = rules.cooldown
        self._seen = 0
        self.slug = None

    def says(self, now):
        """"pass", "probe", or the moment until which it says no."""
        if self._state == CLOSED:
            return "pass"
        return self._until if now < self._until else "probe"

    def just_opened(self, rules):
        """Whether it opened and no probe has failed yet."""
        return self._cooldown <= rules.cooldown * 2

    def probe(self, now, serial, patience):
        """An attempt goes as the probe."""
        self._state, self._serial, self._until = PROBING, serial, now + patience

    def answered(self, now, serial, rules):
        """An attempt reached the target and got what counts as an answer."""
        self._seen = now
        self._run = 0
        if self._state == PROBING and self._serial == serial:
            self._state = CLOSED
            self._cooldown = rules.cooldown
            self._parts.clear()

    def failed(self, now, serial, slug, rules):
        """An attempt failed on the target's side."""
        self._seen = now
        self._run += 1
        in_a_row = self._state == CLOSED and self._run >= rules.samples
        if in_a_row or (self._state == PROBING and self._serial == serial):
            self._open(now, slug, rules)

    def told_nothing(self, now, serial):
        """A probe ended without telling anything about the target."""
        if self._state == PROBING and self._serial == serial:
            self._state, self._until = OPEN, now

    def ended(self, now, failed, rules):
        """A request ended; `failed` is the fault that the domain is to blame for."""
        self._seen = now
        number = now // max(rules.window // self._PARTS, 1)
        self._parts = [part for part in self._parts if part[0] + self._PARTS > number]
        if not self._parts or self._parts[-1][0] != number:
            self._parts.append([number, 0, 0])
        self._parts[-1][1] += 1
        self._parts[-1][2] += failed is not None
        requests, fails = sum(part[1] for part in self._parts), sum(part[2] for part in self._parts)
        over = requests >= rules.samples and fails * 100 > requests * rules.share
        if failed is not None and self._state == CLOSED and over:
            self._open(now, failed, rules)

    def _open(self, now, slug, rules):
        self._state, self._until = OPEN, now + self._cooldown
        self._cooldown = min(self._cooldown * 2, rules.cooldown_longest)
        self.slug = slug
        self._run = 0
        self._parts.clear()

    def ends(self):
        """Longer than any window or cooldown that makes sense: an hour without a word."""
        return max(self._seen, 0 if self._state == CLOSED else self._until) + _HOUR
