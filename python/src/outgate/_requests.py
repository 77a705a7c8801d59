"""Sessions for requests: an adapter below them makes the attempts, so redirects, cookies and hooks work as they always do."""

import io
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse, Timeout
from urllib3.exceptions import HTTPError

from ._breaking import breakage_of
from ._flight import PATIENCE, SETUP, Core, Flight, Tried, Way, Ways, Wish, drive
from ._reply import ConnectReply
from ._tunnels import TunnelManager
from ._watch import Watch, watching
from .classify import Evidence
from .classify.evidence import BODY
from .errors import Failed, RequestFailed, kind_of

# How many bytes of a body are read at once.
_PIECE = 64 * 1024

# How many free connections to one target are kept: as many as there may well be threads.
_MOST_FREE = 64

# What a broken attempt raises.
_BREAKS = (requests.exceptions.RequestException, HTTPError, OSError)


class ProxyError(Failed, requests.exceptions.ProxyError):
    """There is no answer of the target's: see `outgate.errors.Failed` for what it tells."""

    def __init__(self, failure, request=None):
        self.failure = failure
        super().__init__(str(failure), request=request)

    def __reduce__(self):
        return type(self), (self.failure, self.request)


class ProxyTimeout(ProxyError, requests.exceptions.Timeout):
    """The same, because time ran out."""


class ProxyTlsError(ProxyError, requests.exceptions.SSLError):
    """The same, because TLS failed."""


_KINDS = {None: ProxyError, "timeout": ProxyTimeout, "tls": ProxyTlsError}


class Session(requests.Session):
    """A `requests.Session` whose requests go through these proxies, and are tried again where that makes sense.

    `proxies` are URLs or `Upstream`s. `timeout` of a request is how long it may take with all attempts and waits; 90 s unless
    said. The environment's proxies play no part. Responses have `.outgate` (a `Story`), errors are `outgate.Failed` and
    `requests.exceptions.ProxyError`.
    """

    def __init__(self, proxies, rules=None, providers=None, seed=None, *, wish=None):
        super().__init__()
        self._core = proxies if isinstance(proxies, Core) else Core(proxies, rules, providers, seed)
        adapter = Adapter(self._core, wish)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def keeping(self, session, *, targeting="", repeat="by_method"):
        """A session with cookies of its own that keeps to one exit by this name, and shares what was learned with this one."""
        return type(self)(self._core, wish=Wish(session, targeting, repeat))


class Adapter(BaseAdapter):
    """What is mounted: asks the engine, and makes its attempts."""

    def __init__(self, core, wish=None):
        super().__init__()
        self._core = core
        self._wish = wish or Wish()
        self._ways = Ways(self._way)

    def _way(self, number, session):
        upstream = self._core.upstreams[number]
        login = upstream.login(session)
        return Way(_Pools({} if login is None else {"Proxy-Authorization": login}), upstream, login)

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        """One request, with as many attempts as it takes."""
        parts = urlsplit(request.url)
        if not parts.hostname:
            raise requests.exceptions.InvalidURL("the URL has no host", request=request)
        flight = Flight(
            self._core,
            request.method,
            parts.hostname,
            parts.port or (443 if parts.scheme == "https" else 80),
            seconds=_seconds(timeout),
            wish=self._wish,
            headers=request.headers,
            kept_body=request.body is None or isinstance(request.body, (bytes, str)),
        )

        def attempt(choice):
            return self._attempt(flight, choice, request, parts.scheme == "https", stream, {"verify": verify, "cert": cert})

        try:
            response, story = drive(flight, attempt)
        except RequestFailed as failed:
            failure = failed.failure
        else:
            response.outgate = story
            response.request = request
            return response
        raise _KINDS[kind_of(failure)](failure, request)

    def _attempt(self, flight, choice, request, tunnelled, stream, tls):
        upstream = self._core.upstreams[choice.proxy]
        # A pool that is retired here closes its connections when the last response that uses it is gone.
        way, _ = self._ways.take((choice.proxy, choice.session), flight.fresh(choice))
        asked = request.copy()
        # The proxy's login is the proxy's affair, and never the target's.
        asked.headers.pop("Proxy-Authorization", None)
        if way.login is not None and not tunnelled:
            asked.headers["Proxy-Authorization"] = way.login
        evidence = {"proxy": upstream.authority, "target": flight.target, "provider": self._core.provider(upstream)}
        left = self._core.left(choice.deadline)
        with watching(Watch(tunnelled, flight.opened)) as watch:
            try:
                timeout = Timeout(connect=min(left, SETUP), read=left)
                response = way.pool.send(asked, stream=True, timeout=timeout, proxies={"all": upstream.url}, **tls)
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader):
                raise
            except _BREAKS as error:
                return _broke(watch, error, evidence)
            try:
                body = _glance(response) if response.status_code >= 400 else None
                if not stream:
                    self._read(response, choice.deadline)
            except requests.exceptions.ContentDecodingError:
                # It came whole: what is wrong with it is the target's.
                raise
            except _BREAKS as error:
                response.close()
                watch.phase = "body"
                return _broke(watch, error, evidence)
        return _answered(watch, response, body, evidence)

    def _read(self, response, deadline):
        """The whole body as part of the attempt: one that breaks off is then asked for again, where that is safe."""
        pieces = []
        for piece in response.iter_content(_PIECE):
            pieces.append(piece)
            if self._core.now() >= deadline:
                raise TimeoutError
        response._content = b"".join(pieces)
        response._content_consumed = True

    def close(self):
        """Closes the connections that are free."""
        for way in self._ways.drain():
            way.pool.close()


class _Pools(HTTPAdapter):
    """requests' own adapter, over connections that are watched."""

    def __init__(self, login):
        self._login = login
        super().__init__(max_retries=0, pool_maxsize=_MOST_FREE)

    def cert_verify(self, conn, url, verify, cert):
        """As for the target, so for a proxy that is spoken to in TLS: requests itself looks at the target's scheme alone."""
        super().cert_verify(conn, "https:" if conn.scheme == "https" else url, verify, cert)

    def proxy_manager_for(self, proxy, **given):
        """One manager: there is one proxy."""
        if proxy not in self.proxy_manager:
            sizes = {"num_pools": self._pool_connections, "maxsize": self._pool_maxsize, "block": self._pool_block}
            self.proxy_manager[proxy] = TunnelManager(proxy, proxy_headers=self._login, **sizes, **given)
        return self.proxy_manager[proxy]


def _seconds(timeout):
    """How long a request may take: what was given for all, or for connecting and reading together."""
    if isinstance(timeout, Timeout):
        timeout = (timeout.connect_timeout, timeout.read_timeout)
    parts = timeout if isinstance(timeout, tuple) else (timeout,)
    return sum(parts) if all(isinstance(part, (int, float)) for part in parts) else PATIENCE


def _broke(watch, error, evidence):
    reply = watch.reply
    if reply is not None and not reply.opens:
        said = {"status": reply.status, "reason": reply.reason, "headers": reply.headers, "body": reply.body}
        return Tried(Evidence(watch.way, **said, **evidence), watch.sent, reply=reply)
    breakage = breakage_of(error, watch.phase, watch.seconds())
    return Tried(Evidence(watch.way, breakage=breakage, **evidence), watch.sent, reply=reply)


def _answered(watch, response, body, evidence):
    headers = tuple(response.raw.headers.items())
    said = {"status": response.status_code, "reason": response.reason, "headers": headers, "body": body}
    reply = watch.reply
    if reply is None and body is not None:
        # Whoever answered a forwarded request: if it was the proxy, this is what it said.
        reply = ConnectReply(response.status_code, response.reason or "", headers, body)
    return Tried(Evidence(watch.way, **said, **evidence), True, answer=response, reply=reply, close=response.close)


def _glance(response):
    """The beginning of an error's page, which says whose error it is; the response is as if nothing had been read."""
    raw, begun = response.raw, b""
    while len(begun) < BODY and (piece := raw.read(BODY - len(begun), decode_content=False)):
        begun += piece
    response.raw = HTTPResponse(
        body=_Rejoined(begun, raw),
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=False,
        original_response=raw._original_response,
        enforce_content_length=False,
    )
    return begun


class _Rejoined(io.RawIOBase):
    """What was read of a body, and then the rest."""

    def __init__(self, begun, rest):
        super().__init__()
        self._begun, self._rest = begun, rest

    def readable(self):
        """It is."""
        return True

    def read(self, amt=-1):
        """At most so many bytes; all of them if none is given."""
        every = amt is None or amt < 0
        piece, self._begun = (self._begun, b"") if every else (self._begun[:amt], self._begun[amt:])
        if every:
            return piece + self._rest.read(decode_content=False)
        return piece or self._rest.read(amt, decode_content=False)

    def close(self):
        """Gives the connection back, or closes it if the rest was not read."""
        self._rest.close()
        self._rest.release_conn()
        super().close()
