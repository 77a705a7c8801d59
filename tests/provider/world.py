"""The simulated provider and its targets: what becomes of an attempt, and whether it was a wasted one. No sockets in here.

Everything random comes from one seed. A client's run is judged by what any client could have known: an attempt is wasted
if an answer that was sent at least SETTLED seconds before had told that it can't go well.
"""

import random
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from email.utils import formatdate

# What was answered so recently may not have been read yet.
SETTLED = 0.1
# How long a refusal that can't change by itself stays known. Asking again after that is fair.
REMEMBERED = 30.0
# The circuit of document 003: more than 30 % failures within five minutes, with enough samples to mean something.
WINDOW, TOO_MANY, ENOUGH, COOLDOWN = 300.0, 0.3, 20, 5.0

EXITS = 150
DOMAINS = 40
ACCOUNTS = 2


@dataclass(frozen=True)
class Said:
    """An answer: whose it is, what it says, and whether it can be told again."""

    by: str  # "proxy" or "target"
    kind: str
    status: int = 200
    wait: float | None = None
    form: str = "seconds"
    delay: float = 0.0
    # The target did what it was asked.
    done: bool = False


RESET = Said("proxy", "reset", 0)
BROKEN = Said("target", "broken", 0, done=True)


class World:
    """One provider, its accounts and exits, and forty targets."""

    def __init__(self, mix, seed):
        self.mix = mix
        self.rng = random.Random(f"{mix.name} {seed}")
        self.dead = {e for e in range(EXITS) if self.rng.random() < mix.dead_exits}
        self.kinds = self._kinds()
        self.tokens = [mix.account_rate] * ACCOUNTS
        self.refilled = [0.0] * ACCOUNTS
        self.used = [0] * ACCOUNTS
        self.seen = defaultdict(deque)
        self.banned = {}
        self.sticky = {}
        self.judge = Judge()

    def _kinds(self):
        mix, kinds = self.mix, []
        for kind in ("denied", "unknown", "down", "walled", "banning", "limiting", "away", "flaky"):
            kinds += [kind] * getattr(mix, kind)
        kinds += ["well"] * (DOMAINS - len(kinds))
        self.rng.shuffle(kinds)
        return {f"d{number}.test": kind for number, kind in enumerate(kinds)}

    def jobs(self, count):
        """The requests of a run: popular targets more often than others."""
        names = sorted(self.kinds)
        weights = [1 / (1 + rank) ** 0.6 for rank in range(len(names))]
        self.rng.shuffle(names)
        jobs = []
        for number in range(count):
            host = self.rng.choices(names, weights)[0]
            post = self.rng.random() < self.mix.posts
            keyed = post and self.rng.random() < self.mix.keyed_posts
            scheme = "https" if self.rng.random() < self.mix.https else "http"
            jobs.append({"n": number, "method": "POST" if post else "GET", "host": host, "keyed": keyed, "scheme": scheme})
        return jobs

    def is_open(self, now):
        """Whether the provider's port takes connections."""
        mix = self.mix
        return not mix.closed_every or now % mix.closed_every < mix.closed_every - mix.closed_for

    def feasible(self, host):
        """Whether any client could have got the page."""
        return self.kinds[host] not in ("denied", "unknown", "down", "walled")

    def set_up(self, now, account, session, host, job):
        """What becomes of a set-up: an exit's number, or what the proxy says. It is judged before it is decided."""
        self.judge.begin(now, account, host)
        said = self._set_up(now, account, session, host)
        if isinstance(said, Said):
            self.judge.end(now, account, host, job, said)
        return said

    def visit(self, now, account, number, host, job):
        """What the target says to a request that came by an exit."""
        said = self._target(now, number, host, self.kinds[host])
        self.judge.end(now, account, host, job, said)
        return said

    def _set_up(self, now, account, session, host):
        mix, rng, kind = self.mix, self.rng, self.kinds[host]
        first = account == 0
        if first and mix.wrong_password:
            return Said("proxy", "credentials", 407)
        self.used[account] += 1
        if first and mix.quota and self.used[account] > mix.quota:
            return Said("proxy", "quota", 402)
        if mix.account_rate and not self._take(now, account):
            wait = None if mix.account_wait == "none" else 1.0
            return Said("proxy", "rate", 429, wait, mix.account_wait)
        if kind == "denied":
            return Said("proxy", "denied", 403)
        if rng.random() < mix.reset:
            return RESET
        if kind == "unknown":
            return Said("proxy", "unknown", 502)
        if kind == "down":
            return Said("proxy", "refused", 502, delay=0.02)
        bursting = mix.burst_every and now % mix.burst_every < mix.burst_for
        if rng.random() < (mix.burst if bursting else mix.bad_gateway):
            return Said("proxy", "gateway", 502)
        number = self._exit(session)
        if number in self.dead:
            self.sticky.pop(session, None)
            return Said("proxy", "timeout", 504, delay=mix.dead_wait)
        return number

    def _take(self, now, account):
        rate = self.mix.account_rate
        self.tokens[account] = min(rate, self.tokens[account] + (now - self.refilled[account]) * rate)
        self.refilled[account] = now
        if self.tokens[account] < 1:
            return False
        self.tokens[account] -= 1
        return True

    def _exit(self, session):
        if not session:
            return self.rng.randrange(EXITS)
        return self.sticky.setdefault(session, self.rng.randrange(EXITS))

    def _target(self, now, number, host, kind):
        mix, rng = self.mix, self.rng
        delay = rng.uniform(0.005, 0.04)
        if kind == "walled":
            return Said("target", "challenge", 403, delay=delay)
        if kind == "away" and mix.away_from <= now % 20 < mix.away_from + mix.away_for:
            return Said("target", "away", 503, round(mix.away_from + mix.away_for - now % 20 + 0.5), delay=delay)
        if kind == "banning":
            if self.banned.get((number, host), -1.0) > now:
                return Said("target", "challenge", 403, delay=delay)
            if self._visits(now, number, host, 10.0) > mix.ban_after:
                self.banned[(number, host)] = now + mix.ban_for
        if kind == "limiting" and self._visits(now, number, host, 1.0) > mix.exit_rate:
            return Said("target", "limited", 429, None if mix.limit_wait == "none" else 2.0, mix.limit_wait, delay)
        if kind == "flaky" and rng.random() < mix.flaky_rate:
            return Said("target", "error", 500, delay=delay)
        if rng.random() < mix.broken_after:
            return BROKEN
        return Said("target", "ok", 200, delay=delay, done=True)

    def _visits(self, now, number, host, window):
        seen = self.seen[(number, host)]
        seen.append(now)
        while seen[0] < now - window:
            seen.popleft()
        return len(seen)


class Judge:
    """Counts attempts, and which of them could have been spared."""

    def __init__(self):
        self.attempts = 0
        self.wasted = Counter()
        self.posts = Counter()
        self.ambiguous = set()
        self._refused = {}
        self._held = {}
        self._domains = defaultdict(deque)
        self._probed = {}

    def begin(self, now, account, host):
        """An attempt begins."""
        self.attempts += 1
        for scope in (("account", account), ("target", account, host)):
            at = self._refused.get(scope)
            if at is not None and at + SETTLED < now < at + REMEMBERED:
                self.wasted["deterministic"] += 1
                return
        for scope in (("account", account), ("domain", host)):
            told, until = self._held.get(scope, (0, 0))
            if told + SETTLED < now < until - SETTLED:
                self.wasted["before Retry-After"] += 1
                return
        if self._is_open(now, host):
            if now - self._probed.get(host, -COOLDOWN) < COOLDOWN:
                self.wasted["open circuit"] += 1
            else:
                self._probed[host] = now

    def end(self, now, account, host, job, said):
        """What was answered. Only what the target is to blame for counts for its circuit."""
        if said.kind in ("credentials", "quota"):
            self._refused[("account", account)] = now
        elif said.kind == "denied":
            self._refused[("target", account, host)] = now
        elif said.wait is not None and said.kind == "rate":
            self._held[("account", account)] = (now, now + said.wait)
        elif said.wait is not None and said.kind == "away":
            self._held[("domain", host)] = (now + said.delay, now + said.wait)
        if said.by == "target" or said.kind in ("refused", "unknown"):
            failed = said.kind not in ("ok", "broken")
            self._domains[host].append((now + said.delay, failed))
        # With an Idempotency-Key the target knows a repetition for one.
        if said.done and job and job["method"] == "POST" and not job["keyed"]:
            self.posts[job["n"]] += 1
            if said.kind == "broken":
                self.ambiguous.add(job["n"])

    def _is_open(self, now, host):
        samples = self._domains[host]
        while samples and samples[0][0] < now - WINDOW:
            samples.popleft()
        known = [failed for at, failed in samples if at + SETTLED < now]
        return len(known) >= ENOUGH and sum(known) / len(known) > TOO_MANY

    def duplicates(self):
        """POSTs that a target did twice."""
        return sum(1 for count in self.posts.values() if count > 1)


def http_date(seconds):
    """When a wait is over, as an HTTP date."""
    return formatdate(seconds, usegmt=True)
