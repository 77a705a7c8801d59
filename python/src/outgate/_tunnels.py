"""urllib3 connections that keep what the proxy said to CONNECT, and tell how far they came."""

import http.client
from dataclasses import replace

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager

from ._reply import GLANCE, LONGEST_BODY, ConnectReply, TunnelRefused
from ._watch import watched
from .classify.evidence import TUNNELLED


class _Watched:
    """The part that both kinds share: where it stands is written down for the attempt that uses it."""

    # The proxy's answer to CONNECT, once there was one.
    reply = None
    _asks = False

    def _new_conn(self):
        _stands("tcp")
        sock = super()._new_conn()
        _stands("tls" if self.default_port == 443 and self._tunnel_host is None else "ask")
        return sock

    def send(self, data):
        if self.sock is None:
            self.connect()
        watch = watched()
        if watch is not None and not self._asks:
            watch.phase, watch.sent = "ask", True
            if self.reply is not None:
                watch.reply, watch.way = self.reply, TUNNELLED
        super().send(data)


class ForwardConnection(_Watched, HTTPConnection):
    """A connection to a proxy that passes requests on."""


class TunnelConnection(_Watched, HTTPSConnection):
    """An HTTPS connection, through a tunnel or to a proxy that is spoken to in TLS."""

    def _connect_tls_proxy(self, *args, **kwargs):
        _stands("tls")
        return super()._connect_tls_proxy(*args, **kwargs)

    def _tunnel(self):
        # http.client's own discards headers and body of a refusal (cpython Lib/http/client.py, `_tunnel`).
        _stands("ask")
        host = self._tunnel_host
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        lines = [f"CONNECT {host}:{self._tunnel_port} HTTP/1.1", *self._fields(f"{host}:{self._tunnel_port}"), "", ""]
        self._asks = True
        try:
            self.send("\r\n".join(lines).encode("latin-1"))
            reply = self._answer()
        finally:
            self._asks = False
        watch = watched()
        if watch is not None:
            watch.reply = reply
        if not reply.opens:
            self.close()
            raise TunnelRefused(reply)
        self.reply = reply
        if watch is not None:
            watch.phase, watch.way = "target_tls", TUNNELLED
            watch.opened()

    def _answer(self):
        # Of an answer to CONNECT http.client believes that it has no body, which is true only of those that open a tunnel.
        response = http.client.HTTPResponse(self.sock)
        try:
            response.begin()
            headers = tuple(response.msg.items())
            reply = ConnectReply(response.status, response.reason, headers)
            if reply.opens:
                return reply
            self.sock.settimeout(GLANCE)
            return replace(reply, body=_at_most(response, LONGEST_BODY))
        finally:
            response.close()

    def _fields(self, authority):
        given = {name.lower() for name in self._tunnel_headers}
        fields = [] if "host" in given else [f"Host: {authority}"]
        return fields + [f"{name}: {value}" for name, value in self._tunnel_headers.items()]


def _stands(phase):
    watch = watched()
    if watch is not None:
        watch.phase = phase


def _at_most(response, length):
    """What comes of a body, up to this length. The head is what matters: a body that breaks off hides nothing of it."""
    body = b""
    try:
        while len(body) < length and (piece := response.read1(length - len(body))):
            body += piece
    except (OSError, http.client.HTTPException):
        pass
    return body


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = TunnelConnection


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = ForwardConnection


class TunnelManager(ProxyManager):
    """A pool manager for one proxy and one identity there."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
