"""httpcore's sockets, watched: how far an attempt came, and what the proxy said to CONNECT.

httpcore drops the answer's body, and closes the connection when the tunnel is refused. So what the proxy says is kept as it comes
by, and the rest of a refusal's body is read in front of the close.
"""

import httpcore

from ._reply import GLANCE, LONGEST_BODY, read_reply
from ._watch import watched
from .classify.evidence import TUNNELLED

# A head that is longer is no answer to CONNECT.
_LONGEST_HEAD = 64 * 1024


class _Seen:
    """What both kinds of stream know of themselves."""

    def __init__(self, inner, tls_to_come, reply=None):
        self._inner = inner
        # "proxy" while TLS with the proxy is still to come, "target" while it may come with the target, None inside of that.
        self._tls_to_come = tls_to_come
        self._reply = reply
        # What the proxy said since CONNECT was asked; None when nothing is being asked.
        self._said = None

    def _writes(self, data):
        watch = watched()
        if data.startswith(b"CONNECT ") and self._tls_to_come == "target":
            self._said = b""
        elif watch is not None and data and self._said is None:
            watch.sent = True
            if self._reply is not None:
                watch.reply, watch.way = self._reply, TUNNELLED
        if watch is not None:
            watch.phase = "ask"

    def _reads(self, data):
        if self._said is not None and len(self._said) < _LONGEST_HEAD + LONGEST_BODY:
            self._said += data
        return data

    def _starts_tls(self):
        """The stream inside: what TLS is to come there, and what the proxy said."""
        watch = watched()
        if self._tls_to_come == "proxy":
            if watch is not None:
                watch.phase = "tls"
            return "target", None
        reply, _ = read_reply(self._said or b"")
        self._said = None
        if watch is not None:
            watch.phase, watch.way, watch.reply = "target_tls", TUNNELLED, reply
            watch.opened()
        return None, reply

    def _due(self):
        """How much of a refusal's body is still to come before the connection may be closed."""
        reply, due = (None, 0) if self._said is None else read_reply(self._said)
        return 0 if reply is None or reply.opens else due

    def _closes(self):
        watch, said = watched(), self._said
        self._said = None
        if watch is not None and said is not None:
            watch.reply, _ = read_reply(said)
            watch.foreign = said[:8] if not said.startswith(b"HTTP/") else b""

    def get_extra_info(self, info):
        """As the stream inside has it."""
        return self._inner.get_extra_info(info)


class Stream(_Seen, httpcore.NetworkStream):
    """A socket."""

    def read(self, max_bytes, timeout=None):
        """Reads what comes."""
        return self._reads(self._inner.read(max_bytes, timeout))

    def write(self, buffer, timeout=None):
        """Writes all of it."""
        self._writes(buffer)
        self._inner.write(buffer, timeout)

    def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        """TLS over it."""
        inside = self._starts_tls()
        return Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), *inside)

    def close(self):
        """Closes it, after the rest of a refusal."""
        try:
            while due := self._due():
                if not self._reads(self._inner.read(due, GLANCE)):
                    break
        except (httpcore.NetworkError, httpcore.TimeoutException):
            pass
        finally:
            self._closes()
            self._inner.close()


class AsyncStream(_Seen, httpcore.AsyncNetworkStream):
    """A socket of an event loop."""

    async def read(self, max_bytes, timeout=None):
        """Reads what comes."""
        return self._reads(await self._inner.read(max_bytes, timeout))

    async def write(self, buffer, timeout=None):
        """Writes all of it."""
        self._writes(buffer)
        await self._inner.write(buffer, timeout)

    async def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        """TLS over it."""
        inside = self._starts_tls()
        return AsyncStream(await self._inner.start_tls(ssl_context, server_hostname, timeout), *inside)

    async def aclose(self):
        """Closes it, after the rest of a refusal."""
        try:
            while due := self._due():
                if not self._reads(await self._inner.read(due, GLANCE)):
                    break
        except (httpcore.NetworkError, httpcore.TimeoutException):
            pass
        finally:
            self._closes()
            await self._inner.aclose()


def _starts(scheme):
    watch = watched()
    if watch is not None:
        watch.phase = "tcp"
    return "proxy" if scheme == "https" else "target"


class Backend(httpcore.NetworkBackend):
    """Opens sockets to a proxy with this scheme."""

    def __init__(self, scheme):
        self._scheme, self._inner = scheme, httpcore.SyncBackend()

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        """A connection to the proxy."""
        begins = _starts(self._scheme)
        return Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options), begins)

    def sleep(self, seconds):
        """Waits."""
        self._inner.sleep(seconds)


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """The same in an event loop, asyncio's or trio's."""

    def __init__(self, scheme):
        self._scheme, self._inner = scheme, httpcore.AnyIOBackend()

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        """A connection to the proxy."""
        begins = _starts(self._scheme)
        return AsyncStream(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options), begins)

    async def sleep(self, seconds):
        """Waits."""
        await self._inner.sleep(seconds)
