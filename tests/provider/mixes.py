"""Mixes of failures, as documents 000 to 004 tell of them. Numbers are probabilities, seconds or requests per second.

The engine was tuned on TUNED. HELD_OUT was written before it and is only measured.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mix:
    """What goes wrong, and how often."""

    name: str
    # How the provider spells its refusals; the relay is told the same name.
    dialect: str = "bare"
    # Of the way to the provider: its port is closed for `closed_for` seconds every `closed_every`.
    closed_every: float = 0
    closed_for: float = 0
    # A set-up is answered with a reset.
    reset: float = 0.01
    # 502 at any time, and in bursts: for `burst_for` seconds every `burst_every`.
    bad_gateway: float = 0.01
    burst_every: float = 0
    burst_for: float = 0
    burst: float = 0
    # Exits that don't answer, and how long the provider waits for them.
    dead_exits: float = 0.03
    dead_wait: float = 0.8
    # Requests per second of an account before it gets 429, and whether the answer names the wait.
    account_rate: float = 0
    account_wait: str = "seconds"  # or "date", "none"
    # After so many requests the first account's traffic is used up: 402 from then on.
    quota: int = 0
    # Whether the first account's password is wrong.
    wrong_password: bool = False
    # Targets, by how many of the 40 there are.
    denied: int = 1
    unknown: int = 1
    down: int = 1
    walled: int = 1
    # A target that bans an exit after so many requests from it, for `ban_for` seconds.
    banning: int = 3
    ban_after: int = 6
    ban_for: float = 20
    # A target that allows an exit so many requests per second; its 429 may name the wait.
    limiting: int = 3
    exit_rate: float = 2
    limit_wait: str = "seconds"
    # A target that is away for a while: 503 with a wait.
    away: int = 2
    away_from: float = 3
    away_for: float = 6
    # A target's own 500.
    flaky: int = 4
    flaky_rate: float = 0.1
    # A target that did the work, and then the connection broke: nobody can know.
    broken_after: float = 0.004
    posts: float = 0.1
    keyed_posts: float = 0.3
    https: float = 0.3
    tuned: bool = field(default=True, compare=False)


TUNED = [
    Mix("calm"),
    Mix("morning", burst_every=12, burst_for=5, burst=0.5, bad_gateway=0.03, dead_exits=0.06),
    Mix("limits", dialect="proxies.fo", denied=0, account_rate=160, account_wait="none", limiting=8, limit_wait="none"),
    Mix("bans", dialect="oxylabs", banning=10, ban_after=4, walled=2, account_rate=220, account_wait="date"),
]

HELD_OUT = [
    Mix("storm", dialect="oxylabs", closed_every=9, closed_for=1.2, reset=0.05, bad_gateway=0.05, burst_every=10, burst_for=3,
        burst=0.4, dead_exits=0.1, account_rate=200, flaky=8, flaky_rate=0.2, tuned=False),
    Mix("spent", dialect="atlasvpn", bad_gateway=0, dead_exits=0.08, quota=3000, account_rate=180, denied=3, unknown=2, down=3, away=4, tuned=False),
    Mix("misconfigured", dialect="proxies.fo", wrong_password=True, denied=0, dead_exits=0.12, limiting=6, limit_wait="date",
        tuned=False),
]

ALL = {mix.name: mix for mix in TUNED + HELD_OUT}
