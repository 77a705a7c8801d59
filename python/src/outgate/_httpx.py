"""Clients for httpx: a transport below them makes the attempts, so redirects, cookies and hooks work as they always do."""

import ssl
from contextlib import asynccontextmanager, contextmanager

import anyio
import httpcore
import httpx

from ._breaking import breakage_of
from ._flight import PATIENCE, SETUP, Core, Flight, Tried, Way, Ways, Wish, drive, drive_async
from ._reply import ConnectReply
from ._streams import AsyncBackend, Backend
from ._watch import Watch, watching
from .classify import Breakage, Evidence
from .classify.evidence import BODY
from .errors import Failed, RequestFailed, kind_of

# Where a request's extensions say whether its body is read as part of the attempt.
_WHOLE = "outgate_whole"


class ProxyError(Failed, httpx.ProxyError):
    """There is no answer of the target's: see `outgate.errors.Failed` for what it tells."""

    def __init__(self, failure, request=None):
        self.failure = failure
        super().__init__(str(failure), request=request)

    def __reduce__(self):
        return type(self), (self.failure,)


class ProxyTimeout(ProxyError, httpx.TimeoutException):
    """The same, because time ran out."""


class ProxyTlsError(ProxyError, httpx.ConnectError):
    """The same, because TLS failed."""


_KINDS = {None: ProxyError, "timeout": ProxyTimeout, "tls": ProxyTlsError}


class _Made:
    """What both clients are made with. `kwargs` are httpx's own; its timeouts are 90 s unless said, and its `proxy` is ours."""

    def _make(self, transport, core, kwargs):
        for ours in ("proxy", "proxies", "mounts", "transport"):
            if ours in kwargs:
                raise TypeError(f"{ours}= has no place here: the first argument says what requests go through")
        verify, cert = kwargs.pop("verify", True), kwargs.pop("cert", None)
        context = verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify, cert=cert)
        kwargs.setdefault("timeout", httpx.Timeout(PATIENCE))
        return transport(core, context)


class Client(_Made, httpx.Client):
    """An `httpx.Client` whose requests go through these proxies, and are tried again where that makes sense.

    What a request wants besides goes into its extensions: `extensions={"outgate": {"session": "cart-17"}}` keeps to one exit;
    `targeting` and `repeat` are as in `Wish`. Responses have `.outgate` (a `Story`), errors are `outgate.Failed` and
    `httpx.ProxyError`. Its timeout is how long a request may take with all its attempts and waits.
    """

    def __init__(self, proxies, rules=None, providers=None, seed=None, **kwargs):
        transport = self._make(Transport, Core(proxies, rules, providers, seed), kwargs)
        super().__init__(transport=transport, **kwargs)

    def send(self, request, *, stream=False, **kwargs):
        """As httpx has it; a body that is not streamed is part of the attempt, so one that breaks off is asked for again."""
        request.extensions = {**request.extensions, _WHOLE: not stream}
        return super().send(request, stream=stream, **kwargs)


class AsyncClient(_Made, httpx.AsyncClient):
    """An `httpx.AsyncClient` in the same way."""

    def __init__(self, proxies, rules=None, providers=None, seed=None, **kwargs):
        transport = self._make(AsyncTransport, Core(proxies, rules, providers, seed), kwargs)
        super().__init__(transport=transport, **kwargs)

    async def send(self, request, *, stream=False, **kwargs):
        """As httpx has it; a body that is not streamed is part of the attempt, so one that breaks off is asked for again."""
        request.extensions = {**request.extensions, _WHOLE: not stream}
        return await super().send(request, stream=stream, **kwargs)


class _Transporting:
    """What both transports do without waiting for anything."""

    def __init__(self, core, context):
        self._core = core
        self._context = context
        self._ways = Ways(self._way)

    def _way(self, number, session):
        upstream = self._core.upstreams[number]
        login = upstream.login(session)
        pool = self._proxy(
            proxy_url=upstream.url,
            proxy_headers=None if login is None else [("Proxy-Authorization", login)],
            ssl_context=self._context,
            proxy_ssl_context=None if upstream.scheme == "http" else self._context,
            max_connections=None,
            max_keepalive_connections=20,
            keepalive_expiry=30.0,
            network_backend=self._backend(upstream.scheme),
        )
        return Way(pool, upstream, login)

    def _flight(self, request):
        scheme, host = request.url.scheme, request.url.host
        if scheme not in ("http", "https") or not host:
            raise httpx.UnsupportedProtocol("the URL must begin with http:// or https:// and a host", request=request)
        given = [value for value in request.extensions.get("timeout", {}).values() if value is not None]
        return Flight(
            self._core,
            request.method,
            request.url.raw_host.decode("ascii").strip("[]"),
            request.url.port or (443 if scheme == "https" else 80),
            seconds=max(given, default=PATIENCE),
            wish=Wish(**request.extensions.get("outgate", {})),
            headers=request.headers,
            kept_body=isinstance(request.stream, httpx.ByteStream),
        )

    def _asked(self, request, deadline):
        left = self._core.left(deadline)
        timeout = {"connect": min(left, SETUP), "read": left, "write": left, "pool": left}
        # The proxy's login is the proxy's affair, and never the target's.
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"proxy-authorization"]
        url = request.url
        return httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=headers,
            content=request.stream,
            extensions={**request.extensions, "timeout": timeout},
        )

    def _evidence(self, flight, choice):
        upstream = self._core.upstreams[choice.proxy]
        return {"proxy": upstream.authority, "target": flight.target, "provider": self._core.provider(upstream)}

    @staticmethod
    def _raise(failure, request):
        raise _KINDS[kind_of(failure)](failure, request)


class Transport(_Transporting, httpx.BaseTransport):
    """Asks the engine, and makes its attempts."""

    _proxy, _backend = httpcore.HTTPProxy, Backend

    def handle_request(self, request):
        """One request, with as many attempts as it takes."""
        flight = self._flight(request)
        try:
            response, response.outgate = drive(flight, lambda choice: self._attempt(flight, choice, request))
        except RequestFailed as failed:
            failure = failed.failure
        else:
            return response
        return self._raise(failure, request)

    def _attempt(self, flight, choice, request):
        evidence = self._evidence(flight, choice)
        way, idle = self._ways.take((choice.proxy, choice.session), flight.fresh(choice))
        for one in idle:
            one.pool.close()
        body = _Body(self, way)
        with watching(Watch(request.url.scheme == "https", flight.opened)) as watch:
            try:
                with _closing(body):
                    answer = way.pool.handle_request(self._asked(request, choice.deadline))
                    watch.phase, body.rest = "body", answer.stream
                    body.begin(self._until(request, answer), self._core, choice.deadline)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError, OSError) as error:
                return _broke(watch, error, evidence)
        return _answered(watch, answer, body, evidence, body.close)

    @staticmethod
    def _until(request, answer):
        return None if request.extensions.get(_WHOLE) else BODY if answer.status >= 400 else 0

    def left(self, way):
        """A response was read or closed: whoever is the last closes a pool that is no longer kept."""
        if self._ways.leave(way):
            way.pool.close()

    def close(self):
        """Closes all connections."""
        for way in self._ways.drain():
            way.pool.close()


class AsyncTransport(_Transporting, httpx.AsyncBaseTransport):
    """Asks the engine, and makes its attempts, in an event loop."""

    _proxy, _backend = httpcore.AsyncHTTPProxy, AsyncBackend
    _until = staticmethod(Transport._until)

    async def handle_async_request(self, request):
        """One request, with as many attempts as it takes."""
        flight = self._flight(request)
        try:
            response, response.outgate = await drive_async(flight, lambda choice: self._attempt(flight, choice, request))
        except RequestFailed as failed:
            failure = failed.failure
        else:
            return response
        return self._raise(failure, request)

    async def _attempt(self, flight, choice, request):
        evidence = self._evidence(flight, choice)
        way, idle = self._ways.take((choice.proxy, choice.session), flight.fresh(choice))
        for one in idle:
            await one.pool.aclose()
        body = _AsyncBody(self, way)
        with watching(Watch(request.url.scheme == "https", flight.opened)) as watch:
            try:
                async with _aclosing(body):
                    answer = await way.pool.handle_async_request(self._asked(request, choice.deadline))
                    watch.phase, body.rest = "body", answer.stream
                    await body.begin(self._until(request, answer), self._core, choice.deadline)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError, OSError) as error:
                return _broke(watch, error, evidence)
        return _answered(watch, answer, body, evidence, body.aclose)

    async def left(self, way):
        """A response was read or closed: whoever is the last closes a pool that is no longer kept."""
        if self._ways.leave(way):
            await way.pool.aclose()

    async def aclose(self):
        """Closes all connections."""
        for way in self._ways.drain():
            await way.pool.aclose()


class _Body(httpx.SyncByteStream):
    """A response's body: what was read of it during the attempt, and then the rest."""

    def __init__(self, transport, way):
        self._transport, self._way = transport, way
        self.rest = None
        self._pieces = None
        self._begun = []
        self._open = True

    def begin(self, until, core, deadline):
        """Reads so many bytes, or all of it if that is None."""
        self._pieces = iter(self.rest)
        read = 0
        while until is None or read < until:
            piece = next(self._pieces, None)
            if piece is None:
                self.close()
                return
            self._begun.append(piece)
            read += len(piece)
            if core.now() >= deadline:
                raise TimeoutError

    def begun(self):
        """What was read."""
        return b"".join(self._begun)

    def __iter__(self):
        yield from self._begun
        if self._open:
            with _mapped():
                yield from self._pieces

    def close(self):
        """Gives the connection back, or closes it if the rest was not read."""
        if self._open:
            self._open = False
            try:
                if self.rest is not None:
                    self.rest.close()
            finally:
                self._transport.left(self._way)


class _AsyncBody(httpx.AsyncByteStream):
    """The same in an event loop."""

    def __init__(self, transport, way):
        self._transport, self._way = transport, way
        self.rest = None
        self._pieces = None
        self._begun = []
        self._open = True

    begun = _Body.begun

    async def begin(self, until, core, deadline):
        """Reads so many bytes, or all of it if that is None."""
        self._pieces = aiter(self.rest)
        read = 0
        while until is None or read < until:
            piece = await anext(self._pieces, None)
            if piece is None:
                await self.aclose()
                return
            self._begun.append(piece)
            read += len(piece)
            if core.now() >= deadline:
                raise TimeoutError

    async def __aiter__(self):
        for piece in self._begun:
            yield piece
        if self._open:
            with _mapped():
                async for piece in self._pieces:
                    yield piece

    async def aclose(self):
        """Gives the connection back, or closes it if the rest was not read."""
        if self._open:
            self._open = False
            try:
                if self.rest is not None:
                    await self.rest.aclose()
            finally:
                await self._transport.left(self._way)


@contextmanager
def _closing(body):
    """Closes it when the attempt fails, or is given up."""
    try:
        yield
    except BaseException:
        body.close()
        raise


@asynccontextmanager
async def _aclosing(body):
    try:
        yield
    except BaseException:
        with anyio.CancelScope(shield=True):
            await body.aclose()
        raise


@contextmanager
def _mapped():
    """What breaks while the caller reads is httpx's own error."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error)) from error
    except httpcore.NetworkError as error:
        raise httpx.ReadError(str(error)) from error
    except httpcore.ProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error


def _broke(watch, error, evidence):
    reply = watch.reply
    if reply is not None and not reply.opens:
        said = {"status": reply.status, "reason": reply.reason, "headers": reply.headers, "body": reply.body}
        return Tried(Evidence(watch.way, **said, **evidence), watch.sent, reply=reply)
    if watch.foreign:
        breakage = Breakage.foreign(watch.phase, watch.foreign)
    else:
        breakage = breakage_of(error, watch.phase, watch.seconds())
    return Tried(Evidence(watch.way, breakage=breakage, **evidence), watch.sent, reply=reply)


def _answered(watch, answer, body, evidence, close):
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers)
    reason = answer.extensions.get("reason_phrase", b"").decode("latin-1")
    begun = body.begun() if answer.status >= 400 else None
    said = {"status": answer.status, "reason": reason, "headers": headers, "body": begun}
    reply = watch.reply
    if reply is None and begun is not None:
        # Whoever answered a forwarded request: if it was the proxy, this is what it said.
        reply = ConnectReply(answer.status, reason, headers, begun[:BODY])
    response = httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)
    return Tried(Evidence(watch.way, **said, **evidence), True, answer=response, reply=reply, close=close)
