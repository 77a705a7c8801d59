"""One upstream proxy: its URL, its credentials, and how another exit is asked for. Nothing secret shows in its repr."""

import base64
import hashlib
from urllib.parse import unquote, urlsplit

from .engine import ONE, ROTATING, Proxy
from .grammar import Grammar

_PORTS = {"http": 80, "https": 443}


class Upstream:
    """A proxy that requests go through.

    `url` is `http://USER:PASSWORD@host:port` or `https://...`. `provider` says whose dialect it speaks; if that provider takes
    sessions in its credentials, the engine makes up at most `sessions` of them and so chooses exits. `session` is a grammar of
    one's own instead ("user-session-{}"), `rotating` says that every new connection may leave through another exit. Upstreams
    with the same `account` share quota and refusals. A lower `tier` is used first; `weight` is the share within a tier.
    """

    def __init__(
        self, url, provider=None, *, session=None, sessions=64, rotating=False, account=None, tier=0, weight=1, name=None
    ):
        self.scheme, self.host, self.port, self._user, self._password = _parsed(url)
        self.provider = provider
        self.grammar = Grammar.parse(session) if session else Grammar.of(provider)
        self.authority = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        self.url = f"{self.scheme}://{self.authority}"
        exits = ROTATING if rotating else ONE
        if self.grammar is not None and self._user is not None and not rotating:
            exits = int(sessions)
        # One host with two logins is two accounts; which login it was must not show.
        own = self.url if self._user is None else f"{self.url} ({self._fingerprint()})"
        self.proxy = Proxy(name or self.url, exits=exits, account=account or own, tier=tier, weight=weight)

    def login(self, session=None):
        """The value of Proxy-Authorization that asks for this session; None without credentials."""
        if self._user is None:
            return None
        user, password = self._user, self._password
        if session is not None and self.grammar is not None:
            user, password = self.grammar.apply(user, password, session)
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def _fingerprint(self):
        return hashlib.sha256(f"{self._user}\0{self._password}".encode()).hexdigest()[:8]

    def __repr__(self):
        return f"Upstream({self.proxy.name!r})"


def _parsed(url):
    # The message names no part of what was given: where the password ends is what may be wrong with it.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        wrong = 'the port of a proxy\'s URL is no number: write "@", ":", "/" and "#" in a password as %40, %3A, %2F and %23'
        raise ValueError(wrong) from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("a proxy's URL is http://USER:PASSWORD@host:port or https://USER:PASSWORD@host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError('a proxy\'s URL ends with its port: write "/", "?" and "#" in a password as %2F, %3F and %23')
    user = None if parts.username is None else unquote(parts.username)
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], user, unquote(parts.password or "")
