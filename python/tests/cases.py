"""Evidence as crates/client/vectors has it."""

import json
from pathlib import Path

from outgate.classify import Breakage, Evidence, Providers, SocksSaid

VECTORS = Path(__file__).resolve().parents[2] / "crates/client/vectors"

# A proxy whose host says nothing.
NOBODYS = "192.0.2.1:8080"


def read(name):
    """A file of cases."""
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def evidence_of(given, provider=None, **changes):
    """What is not there is not known."""
    fields = {name: given[name] for name in ("way", "proxy", "target", "status", "reason", "headers") if name in given}
    body = given.get("body")
    named = provider or given.get("provider")
    return Evidence(
        **{
            **fields,
            "body": None if body is None else body.encode(),
            "socks": _socks(given.get("socks")),
            "breakage": _breakage(given.get("breakage")),
            "provider": Providers.builtin().named(named) if named else None,
            **changes,
        }
    )


def _socks(given):
    if isinstance(given, dict):
        ((kind, byte),) = given.items()
        return SocksSaid(kind, byte)
    return given and SocksSaid(given)


def _breakage(given):
    return given and Breakage(given["phase"], given["manner"], given.get("what", ""), given.get("seconds", 0))
