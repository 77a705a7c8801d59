"""The engine: whether a failed request is tried again, when, and through what. No sockets, no clock, no randomness of its own.

It decides as the Rust crate outgate-client does, module by module, and is held against the same scenes
(crates/client/vectors/engine.json). Moments and waits are whole nanoseconds on a clock of the caller's.

One `Engine` serves all requests of a program; it is not safe for threads, so shells hold a lock around each call:

    request = Request(Ask("GET", "shop.example", 443, deadline))
    admit → Go(choice) → (the attempt) → report → Done, Retry(at) or GiveUp
          → Wait(until)
          → Refused(answered here, with its cause)
"""

from .answer import Choice, Done, GiveUp, Go, Pending, Refused, Retry, Ticket, Wait
from .ask import Ask
from .attempt import Attempt
from .core import Engine
from .outcome import Finding, Outcome
from .proxy import ONE, ROTATING, Proxy, sessions
from .request import Request
from .rules import Rules

__all__ = [
    "ONE",
    "ROTATING",
    "Ask",
    "Attempt",
    "Choice",
    "Done",
    "Engine",
    "Finding",
    "GiveUp",
    "Go",
    "Outcome",
    "Pending",
    "Proxy",
    "Refused",
    "Request",
    "Retry",
    "Rules",
    "Ticket",
    "Wait",
    "sessions",
]
