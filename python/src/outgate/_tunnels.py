"""urllib3 connections that keep what the proxy said to CONNECT."""

import http.client

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager

from ._reply import LONGEST_BODY, ConnectReply, TunnelRefused


class TunnelConnection(HTTPSConnection):
    """An HTTPS connection whose `reply` is the proxy's answer to CONNECT, once there was one."""

    reply = None

    def _tunnel(self):
        # http.client's own discards headers and body of a refusal (cpython Lib/http/client.py, `_tunnel`).
        host = self._tunnel_host
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        lines = [f"CONNECT {host}:{self._tunnel_port} HTTP/1.1", *self._fields(f"{host}:{self._tunnel_port}"), "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))
        response = http.client.HTTPResponse(self.sock, method="CONNECT")
        try:
            response.begin()
            headers = tuple(response.msg.items())
            if response.status == http.HTTPStatus.OK:
                self.reply = ConnectReply(response.status, response.reason, headers)
                return
            try:
                body = response.read(LONGEST_BODY)
            except (OSError, http.client.HTTPException):
                # The head is what matters; a body that breaks off hides nothing of it.
                body = b""
            self.reply = ConnectReply(response.status, response.reason, headers, body)
        finally:
            response.close()
        self.close()
        raise TunnelRefused(self.reply)

    def _fields(self, authority):
        given = {name.lower() for name in self._tunnel_headers}
        fields = [] if "host" in given else [f"Host: {authority}"]
        return fields + [f"{name}: {value}" for name, value in self._tunnel_headers.items()]


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = TunnelConnection


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = HTTPConnection


class TunnelManager(ProxyManager):
    """A pool manager for one proxy and one identity there."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
