"""One request on its way, whatever library carries it: what to do next, said to a shell that does it.

`Flight.steps` is a generator without sockets: it yields a `Pause`, a `Choice` or a `LetGo`, takes what became of a choice's attempt
(`Tried`), and returns the answer or raises `RequestFailed`. A shell that goes away closes it, which gives the attempt up.
"""

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module

from .classify import Providers, classify
from .engine import Ask, Engine, Finding, GiveUp, Go, Outcome, Request, Retry, Wait
from .engine.attempt import kept_headers
from .engine.outcome import date_of
from .engine.rules import SECOND
from .errors import Failure, RequestFailed, Story

from .upstream import Upstream

# How long a request may take with all its attempts and waits, if its own timeout does not say, in seconds.
PATIENCE = 90.0

# How long one way to the target may take: a little more than a gateway allows itself, so that its answer is heard.
SETUP = 20.0

# How many connection pools are kept: one for each proxy and session.
MOST_WAYS = 256

# RFC 9110 section 9.2.2: what may be sent again on a connection that turns out to be closed.
IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds, then go on."""

    seconds: float


@dataclass(frozen=True)
class LetGo:
    """Close the answer of this attempt, which nobody wants."""

    tried: object


@dataclass
class Tried:
    """What became of an attempt, as a shell saw it."""

    evidence: object
    sent: bool
    # The library's own response, the target's or the proxy's.
    answer: object = None
    # What the proxy answered to CONNECT, or in the target's place.
    reply: object = None
    # Lets go of the answer and its connection; None if there is nothing to let go.
    close: object = None


class Core:
    """What the requests of one session share: upstreams, engine, clock. Safe for threads."""

    def __init__(self, proxies, rules=None, providers=None, seed=None):
        self.upstreams = [proxy if isinstance(proxy, Upstream) else Upstream(proxy) for proxy in _listed(proxies)]
        if not self.upstreams:
            raise ValueError("a session needs at least one proxy")
        self.providers = Providers.builtin() if providers is None else providers
        # Not secret, only different: programs that start together must not retry together.
        seed = int.from_bytes(os.urandom(8), "big") if seed is None else seed
        self.engine = Engine([upstream.proxy for upstream in self.upstreams], rules, seed)
        self.lock = threading.Lock()
        self._start = self.clock()

    def clock(self):
        """Nanoseconds that only go forward."""
        return time.monotonic_ns()

    def sleep(self, seconds):
        """Waits in this thread; the lock is not held."""
        time.sleep(seconds)

    async def sleep_async(self, seconds):
        """Waits in this task."""
        await import_module("anyio").sleep(seconds)

    def now(self):
        """The engine's clock, in nanoseconds."""
        return self.clock() - self._start

    def left(self, moment):
        """Seconds until then, at least a little: a timeout of 0 means something else to sockets."""
        return max((moment - self.now()) / SECOND, 0.001)

    def provider(self, upstream):
        """What is known of the upstream's provider, if it has one."""
        return None if upstream.provider is None else self.providers.named(upstream.provider)


def _listed(proxies):
    return [proxies] if isinstance(proxies, (str, Upstream)) else list(proxies)


@dataclass(frozen=True)
class Wish:
    """What a caller may say of one request beside the request itself."""

    # Keeps to one exit: the same name, the same identity. It is never changed to get past a failure.
    session: str | None = None
    # What else the proxy is asked for (`country-us`), so that refusals of it are remembered for it alone; it is not sent.
    targeting: str = ""
    # Whether the target takes repeats once: by_method, recognised, never.
    repeat: str = "by_method"


class Flight:
    """One request between its first admission and its end."""

    def __init__(self, core, method, host, port, *, seconds, wish, headers, kept_body):
        self.core = core
        repeat = wish.repeat
        if repeat == "by_method" and "idempotency-key" in headers:
            repeat = "recognised"
        self.target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        deadline = core.now() + int(seconds * SECOND)
        self.ask = Ask(
            method.upper(),
            host,
            port,
            deadline,
            targeting=wish.targeting,
            session=wish.session,
            repeat=repeat,
            body="kept" if kept_body else "streamed",
        )
        self._request = Request(self.ask)
        self._ticket = None
        self._last = (None, None)

    def opened(self):
        """The proxy let the attempt in: others may be waiting for that."""
        with self.core.lock:
            if self._ticket is not None:
                self.core.engine.opened(self.core.now(), self._request, self._ticket)

    def fresh(self, choice):
        """Whether the attempt needs a new connection: whether an idle one still lives shows only when it is used."""
        return choice.connection == "fresh" or self.ask.method not in IDEMPOTENT

    def steps(self):
        """What to do, one after the other; see above."""
        core = self.core
        while True:
            with core.lock:
                admission = core.engine.admit(core.now(), self._request)
                if isinstance(admission, Go):
                    self._ticket = admission.choice.ticket
            if isinstance(admission, Wait):
                yield self._pause(admission.until)
            elif isinstance(admission, Go):
                try:
                    tried = yield admission.choice
                    next_, verdict = self._report(tried)
                finally:
                    self._give_up()
                self._last = (None if verdict.is_fine else verdict, tried.reply)
                if isinstance(next_, Retry):
                    # An answer that is not wanted is let go before the wait, and its connection with it.
                    yield LetGo(tried)
                    yield self._pause(next_.at)
                elif tried.answer is not None and (verdict.is_fine or verdict.provenance == "origin"):
                    return tried.answer, self._story(verdict, tried)
                else:
                    yield LetGo(tried)
                    why = next_.why if isinstance(next_, GiveUp) else "class"
                    raise RequestFailed(self._failure(verdict.sentence(), verdict.slug, why))
            else:
                until = admission.until
                again = None if until is None else max(until - core.now(), 0) / SECOND
                raise RequestFailed(self._failure(admission.cause, admission.slug, admission.why, again))

    def _pause(self, moment):
        return Pause(max(min(moment, self.ask.deadline) - self.core.now(), 0) / SECOND)

    def _report(self, tried):
        evidence = tried.evidence
        wall = datetime.now(timezone.utc)
        verdict = classify(evidence, self.core.providers)
        outcome = Outcome(
            finding=Finding.of(verdict, wall, date_of(evidence.headers.first("Date"))),
            sent=tried.sent,
            status=evidence.status,
            headers=kept_headers(evidence.headers.pairs),
            exit=_exit(verdict, tried),
        )
        with self.core.lock:
            ticket, self._ticket = self._ticket, None
            now = self.core.now()
            return self.core.engine.report(now, self._request, ticket, outcome, wall.timestamp()), verdict

    def _give_up(self):
        """The attempt ended without an outcome: the caller went away."""
        with self.core.lock:
            if self._ticket is not None:
                self.core.engine.abandon(self.core.now(), self._request, self._ticket)
                self._ticket = None

    def _story(self, verdict, tried):
        attempts = tuple(self._request.attempts)
        return Story(attempts, None if verdict.is_fine else verdict, tried.reply, attempts[-1].exit)

    def _failure(self, sentence, slug, why, retry_after=None):
        verdict, reply = self._last
        return Failure(sentence, slug, why, retry_after, tuple(self._request.attempts), verdict, reply)


def _exit(verdict, tried):
    if verdict.exit is not None:
        return verdict.exit
    named = None if tried.reply is None else tried.reply.header("X-Outgate-Exit")
    forwarded = tried.evidence.way == "forwarded"
    return named or (tried.evidence.headers.first("X-Outgate-Exit") if forwarded else None)


def drive(flight, attempt):
    """Does what a flight says, in this thread: the answer, and its story."""
    steps = flight.steps()
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                flight.core.sleep(step.seconds)
                step = next(steps)
            elif isinstance(step, LetGo):
                if step.tried.close is not None:
                    step.tried.close()
                step = next(steps)
            else:
                step = steps.send(attempt(step))
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


async def drive_async(flight, attempt):
    """The same in a task."""
    steps = flight.steps()
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                await flight.core.sleep_async(step.seconds)
                step = next(steps)
            elif isinstance(step, LetGo):
                if step.tried.close is not None:
                    await step.tried.close()
                step = next(steps)
            else:
                step = steps.send(await attempt(step))
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


class Ways:
    """The connection pools by proxy and session, the ones that were used last. Safe for threads.

    A pool that is replaced or falls out may still be in use, so it is only retired here: its last user closes it.
    """

    def __init__(self, make):
        self._make = make
        self._kept = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key, fresh=False):
        """The pool of this key, with one more user; a `fresh` one has no connection yet. And those that nobody uses any more."""
        with self._lock:
            way = self._kept.pop(key, None)
            idle = []
            if way is None or fresh:
                idle += _retired(way)
                way = self._make(*key)
            self._kept[key] = way
            while len(self._kept) > MOST_WAYS:
                idle += _retired(self._kept.popitem(last=False)[1])
            way.users += 1
        return way, idle

    def leave(self, way):
        """One user less: true if nobody uses it any more and it is to be closed."""
        with self._lock:
            way.users -= 1
            return way.users == 0 and way.retired

    def drain(self):
        """All of them, which are no longer kept."""
        with self._lock:
            gone = list(self._kept.values())
            self._kept.clear()
        return gone


class Way:
    """A pool of connections to one proxy as one identity, with the number of those who use it now."""

    def __init__(self, pool, upstream, login):
        self.pool, self.upstream, self.login = pool, upstream, login
        self.users = 0
        self.retired = False

    def __repr__(self):
        return f"Way({self.upstream!r})"


def _retired(way):
    if way is None:
        return []
    way.retired = True
    return [way] if way.users == 0 else []
