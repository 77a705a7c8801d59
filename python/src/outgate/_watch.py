"""What is seen of one attempt while a library makes it: how far it came, what the proxy said, whether something was sent.

The libraries show little of this from outside. The connections below them (`_tunnels`, `_streams`) write it down here; which
attempt they work for is in a context variable, so that threads and tasks each have their own.
"""

import time
from contextlib import contextmanager
from contextvars import ContextVar

from .classify.evidence import CONNECT, FORWARDED

_NOW = ContextVar("outgate_watch", default=None)


class Watch:
    """One attempt, seen from its connection."""

    def __init__(self, tunnelled, opened=lambda: None):
        self.way = CONNECT if tunnelled else FORWARDED
        # One of classify.breakage.PHASES.
        self.phase = "tcp"
        # The answer to CONNECT, whether it opened the tunnel or not.
        self.reply = None
        # The first bytes of an answer to CONNECT that is no HTTP.
        self.foreign = b""
        self.sent = False
        self.begun = time.monotonic()
        self.opened = opened

    def seconds(self):
        """How long it has been on its way."""
        return time.monotonic() - self.begun


def watched():
    """The attempt that is being made here, or None: a body that is read later belongs to none."""
    return _NOW.get()


@contextmanager
def watching(watch):
    """Makes this the attempt that is being made here."""
    token = _NOW.set(watch)
    try:
        yield watch
    finally:
        _NOW.reset(token)
