"""What the engine keeps: a map that stays small, the randomness, the sessions that it makes up, the retry budget."""

from .rules import MILLI

_MASK = (1 << 64) - 1


class Random:
    """splitmix64, the same in every language. Never for secrets."""

    def __init__(self, seed):
        self._state = seed & _MASK

    def next(self):
        """64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, bound):
        """A number below `bound`."""
        return (self.next() * bound) >> 64

    def up_to(self, longest):
        """A wait from nothing up to `longest`: full jitter."""
        return self.below(longest + 1)

    def word(self):
        """A session's name: eight letters and digits, which every provider's alphabet contains."""
        alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
        bits = self.next()
        return "".join(alphabet[(bits >> (at * 5)) & 31] for at in range(8))


class Kept(dict):
    """At most so many things that have an end, `ends()`: what ended is forgotten first, then what ends soonest."""

    def __init__(self, most):
        super().__init__()
        self._most = max(most, 1)

    def enter(self, now, key, make):
        """The one with this key, made if need be."""
        if key not in self:
            if len(self) >= self._most:
                self._shrink(now)
            self[key] = make()
        return self[key]

    def _shrink(self, now):
        for key in [key for key, value in self.items() if value.ends() <= now]:
            del self[key]
        if len(self) >= self._most:
            for key in sorted(self, key=lambda key: self[key].ends())[: self._most // 16 + 1]:
                del self[key]

    def forget(self, these):
        """Forgets all whose keys are these."""
        for key in [key for key in self if these(key)]:
            del self[key]


class Sessions:
    """The made-up sessions of one proxy: each keeps one exit, so choosing a session is choosing an exit."""

    def __init__(self):
        # [name, when it was last taken, how many attempts it has now]
        self._list = []

    def take(self, now, most, random, fits):
        """One that fits: a new one while there may be more, else the least busy that rested longest."""
        if len(self._list) < max(most, 1):
            return self._make(now, random)
        best = min((made for made in self._list if fits(made[0])), key=lambda made: (made[2], made[1]), default=None)
        if best is not None:
            best[1] = now
            best[2] += 1
            return best[0]
        # The last takes its place: ties are then settled as in Rust.
        at = min(range(len(self._list)), key=lambda at: self._list[at][1])
        self._list[at] = self._list[-1]
        self._list.pop()
        return self._make(now, random)

    def give_back(self, name):
        """An attempt through it ended."""
        for made in self._list:
            if made[0] == name:
                made[2] = max(made[2] - 1, 0)

    def forget(self, name):
        """Its exit is gone or bad: it is not used again."""
        self._list = [made for made in self._list if made[0] != name]

    def _make(self, now, random):
        name = random.word()
        self._list.append([name, now, 1])
        return name


class Budget:
    """The retry budget, in hundredths of a retry: when much fails, retries must not become most of the load."""

    def __init__(self, rules):
        self._rules = rules
        self._hundredths = rules.budget_most * 100
        self._seen = 0

    def earn(self, now):
        """A request began."""
        self._fill(now, self._rules.budget_per_request)

    def spend(self, now):
        """Takes one retry out, if there is one."""
        self._fill(now, 0)
        if self._hundredths < 100:
            return False
        self._hundredths -= 100
        return True

    def _fill(self, now, more):
        by_time = max(now - self._seen, 0) // MILLI * self._rules.budget_per_second // 1000
        # Time that earned less than a hundredth is kept for later.
        if by_time > 0:
            self._seen = max(self._seen, now)
        self._hundredths = min(self._hundredths + by_time + more, self._rules.budget_most * 100)


class Health:
    """How well a proxy did lately: failures in a row, and the share of successes in thousandths."""

    def __init__(self):
        self.in_a_row = 0
        self.share = 1000
        # When an attempt through it last came through to a target.
        self.well = None

    def went_well(self):
        """An attempt showed that it does its work."""
        self.in_a_row = 0
        self.share = self.share * 9 // 10 + 100

    def failed(self):
        """An attempt failed by its fault."""
        self.in_a_row += 1
        self.share = self.share * 9 // 10
