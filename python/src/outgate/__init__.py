"""Requests through proxies that say what went wrong, whether to try again, and who can fix it.

`Session` is for requests, `Client` and `AsyncClient` are for httpx; each needs its library only when it is used.
"""

from importlib import import_module

from .engine import Rules
from .errors import Failed, Story
from .upstream import Upstream

__all__ = ["AsyncClient", "Client", "Failed", "Rules", "Session", "Story", "Upstream"]

_HOMES = {"Session": "._requests", "Client": "._httpx", "AsyncClient": "._httpx"}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
