"""The throw-away servers of the matrix: one origin in clear, one in TLS, and a resolver that knows only them."""

import http.server
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

NAME = "origin.test"
BODY = b"hello from the origin\n"
# The path whose answer is reset before it is complete.
CUT = "/cut"
HALF_WAY = 0.3


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        cut = self.path == CUT
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(BODY) + 1000 * cut))
        self.end_headers()
        self.wfile.write(BODY)
        if cut:
            self.close_connection = True
            # The first half is seen everywhere before the reset overtakes it.
            time.sleep(HALF_WAY)
            # With this option a close is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.close(self.connection.detach())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that hangs up is the client's business: its own output is what the matrix looks at."""


class Origin:
    """Serves BODY at every path, on a free port of 127.0.0.1."""

    def __init__(self, tls=None):
        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            # The handshake happens on the connection's own thread, at its first read.
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Certificates:
    """A throw-away CA, and the certificates that it gives, made by openssl in `folder`."""

    NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def __init__(self, folder: Path):
        self.folder, self.ca, self.ca_key = folder, folder / "ca.pem", folder / "ca.key"
        subject = ["-subj", "/CN=Outgate throw-away test CA"]
        openssl("req", "-x509", *self.NEW_KEY, "-keyout", self.ca_key, "-out", self.ca, "-days", "2", *subject)
        self.origin = self.issue("origin", f"DNS:{NAME}")
        self.proxy = self.issue("proxy", "DNS:localhost,IP:127.0.0.1")

    def issue(self, who, names) -> "tuple[Path, Path]":
        """A certificate for these names and its key, as files."""
        request, extensions, key, certificate = (self.folder / f"{who}.{kind}" for kind in ("csr", "ext", "key", "crt"))
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        openssl("req", "-new", *self.NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={who}")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial",
            "-extfile", extensions, "-out", certificate, "-days", "2",
        )
        return certificate, key

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.origin)
        return context


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


class Resolver:
    """DNS over UDP: NAME is 127.0.0.1, every other name does not exist."""

    NO_ERROR, NXDOMAIN = 0, 3
    TYPE_A = 1

    def __init__(self):
        answer = self.answer

        class Question(socketserver.BaseRequestHandler):
            def handle(self):
                query, sock = self.request
                reply = answer(query)
                if reply:
                    sock.sendto(reply, self.client_address)

        self.server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Question)
        self.server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, query: bytes) -> "bytes | None":
        """RFC 1035 section 4: the header, the question as it came, at most one A record."""
        labels, at = [], 12
        try:
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
                at += 1 + query[at]
            (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        except (IndexError, UnicodeDecodeError, struct.error):
            return None
        question = query[12 : at + 5]
        known = ".".join(labels) == NAME
        records = b""
        if known and kind == self.TYPE_A:
            # 0xC00C points at the name in the question.
            records = struct.pack("!HHHIH", 0xC00C, self.TYPE_A, 1, 60, 4) + socket.inet_aton("127.0.0.1")
        flags = 0x8180 | (self.NO_ERROR if known else self.NXDOMAIN)
        return query[:2] + struct.pack("!HHHHH", flags, 1, bool(records), 0, 0) + question + records
