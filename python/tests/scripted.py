"""A proxy on loopback that does what a test says, and the target behind it: everything in real sockets and real TLS."""

import base64
import http.client
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

TARGET = "shop.example"


class Certificate:
    """A certificate for the target, made once for a run."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="outgate-python-")
        self.file, key = Path(self.folder, "cert.pem"), Path(self.folder, "key.pem")
        subject = ["-subj", f"/CN={TARGET}", "-addext", f"subjectAltName=DNS:{TARGET},DNS:other.example,IP:127.0.0.1"]
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command = ["openssl", "req", "-x509", *made, *subject, "-keyout", str(key), "-out", str(self.file)]
        subprocess.run(command, check=True, capture_output=True)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self.file, key)
        # With TLS 1.2 both sides know the end of a handshake, so that nothing is left on its way when a test ends.
        self.server.maximum_version = ssl.TLSVersion.TLSv1_2
        self.client = ssl.create_default_context(cafile=self.file)

    def remove(self):
        shutil.rmtree(self.folder)


def answer(status=200, body=b"hello", headers=(), reason=None, length=None):
    """An answer; `length` is what it claims to be long."""
    head = [f"HTTP/1.1 {status} {reason or http.client.responses.get(status, 'Odd')}"]
    head += [f"{name}: {value}" for name, value in headers]
    head.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*head, "", ""]).encode() + body


# What a scripted connection may do instead of answering.
RESET, CLOSE, GARBAGE = object(), object(), b"220 mail.example ready\r\n"


class ScriptedProxy:
    """`proxy` is what it says to the CONNECTs in their order, `target` what the target says to the requests; then all is well."""

    def __init__(self, certificate, proxy=(), target=(), scheme="http"):
        self._certificate, self._scheme = certificate, scheme
        self._proxy, self._target = list(proxy), list(target)
        self._lock = threading.Lock()
        # User names of CONNECTs and forwarded requests; (method, path, body) of requests at the target; connections.
        self.logins, self.requests, self.connections = [], [], 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, user="user", password="s3cret"):
        return f"{self._scheme}://{user}:{password}@127.0.0.1:{self.port}"

    def close(self):
        # Without it the thread that waits in accept would keep the port open.
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for connection in self._open:
                connection.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self._scheme == "https":
                connection = self._certificate.server.wrap_socket(connection, server_side=True)
            self._speak(connection)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _speak(self, connection):
        file = connection.makefile("rb")
        while (request := _request(file)) is not None:
            method, path, headers, body = request
            with self._lock:
                self.logins.append(_user(headers))
                # A forwarded request is answered by whoever still has something to say, the proxy first.
                said = self._proxy.pop(0) if self._proxy else None
            if method != "CONNECT":
                if said is None:
                    said = self._next(method, path, body)
                if not _says(connection, said):
                    return
                continue
            if said is not None:
                if isinstance(said, bytes):
                    # The head and the body of a refusal come apart, as they do on the real net.
                    head, blank, said = said.partition(b"\r\n\r\n")
                    connection.sendall(head + blank)
                _says(connection, said)
                return
            connection.sendall(b"HTTP/1.1 200 Connection established\r\nX-Outgate-Exit: exit-7\r\n\r\n")
            self._behind(connection)
            return

    def _behind(self, connection):
        with self._certificate.server.wrap_socket(connection, server_side=True) as inside:
            file = inside.makefile("rb")
            while (request := _request(file)) is not None:
                method, path, _, body = request
                if not _says(inside, self._next(method, path, body)):
                    return

    def _next(self, method, path, body):
        with self._lock:
            self.requests.append((method, path, body))
            return self._target.pop(0) if self._target else answer()


def _says(connection, said):
    """Whether the connection goes on after it."""
    if said is RESET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return False
    if said is CLOSE:
        return False
    connection.sendall(said)
    _, _, body = said.partition(b"\r\n\r\n")
    return f"Content-Length: {len(body)}\r\n".encode() in said


def _request(file):
    # A TLS record is no request, and may have no line in it: it is not waited for.
    line = file.readline().decode("latin-1").split() if file.peek(1)[:1] != b"\x16" else []
    if len(line) != 3:
        return None
    headers = http.client.parse_headers(file)
    if headers.get("Transfer-Encoding") == "chunked":
        body = b""
        while length := int(file.readline(), 16):
            body += file.read(length)
            file.readline()
        file.readline()
    else:
        body = file.read(int(headers.get("Content-Length", 0)))
    return line[0], line[1], headers, body


def _user(headers):
    login = headers.get("Proxy-Authorization")
    return None if login is None else base64.b64decode(login.partition(" ")[2]).decode().partition(":")[0]


class Time:
    """A clock that sleeping moves: waits are seen and take no time."""

    def __init__(self, core):
        self.slept = []
        self._ahead = 0
        core.clock, core.sleep, core.sleep_async = self._clock, self._sleep, self._sleep_async

    def _clock(self):
        return time.monotonic_ns() + self._ahead

    def _sleep(self, seconds):
        self.slept.append(seconds)
        self._ahead += int(seconds * 1e9) + 1

    async def _sleep_async(self, seconds):
        self._sleep(seconds)


@contextmanager
def scripted(certificate, proxy=(), target=(), scheme="http"):
    """A scripted proxy for a while."""
    one = ScriptedProxy(certificate, proxy, target, scheme)
    try:
        yield one
    finally:
        one.close()
