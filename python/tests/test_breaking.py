"""Exceptions, real ones where the system makes them, as breakages; and answers to CONNECT as they come in pieces."""

import errno
import http.client
import socket
import ssl
import unittest

from outgate._breaking import breakage_of
from outgate._reply import LONGEST_BODY, read_reply
from outgate.classify import Breakage


class Exceptions(unittest.TestCase):
    def test_each_kind(self):
        for error, breakage in [
            (ConnectionRefusedError(), Breakage("tcp", "refused")),
            (ConnectionResetError(), Breakage("tcp", "reset")),
            (BrokenPipeError(), Breakage("tcp", "reset")),
            (http.client.RemoteDisconnected("closed"), Breakage("tcp", "closed")),
            (http.client.IncompleteRead(b"x"), Breakage("tcp", "closed")),
            (http.client.BadStatusLine("220 mail"), Breakage("tcp", "foreign", "greeting")),
            (OSError(errno.EHOSTUNREACH, "no route"), Breakage("tcp", "unreachable")),
            (TimeoutError(), Breakage("tcp", "timed_out", seconds=2.0)),
            (socket.gaierror(socket.EAI_NONAME, "unknown"), Breakage("dns", "not_found")),
            (ssl.SSLEOFError(8, "eof"), Breakage("tcp", "closed")),
            (ValueError("http://key:secret@gw"), Breakage("tcp", "other", "ValueError")),
        ]:
            self.assertEqual(breakage_of(error, "tcp", 2.0), breakage, repr(error))

    def test_the_innermost_counts_however_it_is_wrapped(self):
        try:
            try:
                raise ConnectionRefusedError
            except OSError as error:
                raise RuntimeError("wrapped") from error
        except RuntimeError as error:
            self.assertEqual(breakage_of(error, "tcp", 0).manner, "refused")
        self.assertEqual(breakage_of(RuntimeError("x", ConnectionResetError()), "ask", 0), Breakage("ask", "reset"))
        grouped = RuntimeError("x")
        grouped.exceptions = (ConnectionRefusedError(),)
        self.assertEqual(breakage_of(grouped, "tcp", 0).manner, "refused")

    def test_an_exception_that_wraps_itself_ends(self):
        error = RuntimeError()
        error.reason = error
        self.assertEqual(breakage_of(error, "ask", 0).manner, "other")


class Replies(unittest.TestCase):
    def test_the_head_and_what_is_still_to_come(self):
        reply, due = read_reply(b"HTTP/1.1 407 No such key\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\nab")
        self.assertEqual((reply.status, reply.reason, reply.body, due), (407, "No such key", b"ab", 3))
        self.assertEqual(reply.headers[:2], (("X-A", "1"), ("X-A", "2")))

    def test_what_is_no_answer(self):
        for said in (b"", b"HTTP/1.1 407", b"220 mail ready\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 \xb2\r\n\r\n"):
            self.assertEqual(read_reply(said), (None, 0), said)

    def test_an_interim_answer_is_passed_over(self):
        reply, due = read_reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((reply.status, due), (200, 0))

    def test_a_body_is_bounded(self):
        for length in (b"", b"Content-Length: 99999999999\r\n", b"Content-Length: \xb2\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n"):
            reply, due = read_reply(b"HTTP/1.1 502 Bad\r\n" + length + b"\r\n" + b"x" * 10)
            self.assertEqual((len(reply.body), due), (10, LONGEST_BODY - 10))
        reply, due = read_reply(b"HTTP/1.1 502 Bad\r\n\r\n" + b"x" * 2 * LONGEST_BODY)
        self.assertEqual((len(reply.body), due), (LONGEST_BODY, 0))


if __name__ == "__main__":
    unittest.main()
