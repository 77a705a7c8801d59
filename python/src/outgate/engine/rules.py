"""The numbers that the engine decides by. Waits are nanoseconds."""

from dataclasses import dataclass

MILLI = 1_000_000
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Rules:
    """All limits. The defaults are the documented ones (docs/library.md)."""

    # Retries of each transient class (now, backoff, rotate), and of class fix.
    transient: int = 3
    fix: int = 1
    # Attempts of one request in all.
    attempts: int = 8
    backoff_first: int = 1 * SECOND
    backoff_longest: int = 60 * SECOND
    attempt_timeout: int = 60 * SECOND
    # How long a deterministic refusal is remembered; confirmed again, twice as long.
    remember: int = 60 * SECOND
    remember_longest: int = 600 * SECOND
    # A wait that an answer names counts up to here.
    longest_wait: int = 3600 * SECOND
    # How long an exit that a target refuses is not used for it.
    ban: int = 600 * SECOND
    # The retry budget: hundredths of a retry that each request and each second add, and how many retries it holds.
    budget_per_request: int = 60
    budget_per_second: int = 1000
    budget_most: int = 200
    # The circuit of a domain.
    window: int = 300 * SECOND
    share: int = 30
    samples: int = 20
    cooldown: int = 5 * SECOND
    cooldown_longest: int = 300 * SECOND
    # Failures of one proxy in a row that hold it, and for how long.
    in_a_row: int = 5
    hold: int = 500 * MILLI
    hold_longest: int = 30 * SECOND
    # How long a probe of a limit may take before another goes.
    probe: int = 1 * SECOND
    # How many domains, targets, sessions and refusals are kept in mind of each kind.
    most_kept: int = 10_000


def doubled(first, times, longest):
    """`first`, doubled so many times, but at most `longest`."""
    return min(first << min(times, 40), longest)
