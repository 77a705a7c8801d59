"""What the engine says: go, wait, or no; and after an attempt: done, again, or enough."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ticket:
    """The proof that an attempt was allowed; to be handed back with its report."""

    serial: int
    proxy: int
    session: str | None
    began: int
    waited: int


@dataclass(frozen=True)
class Choice:
    """One attempt to make."""

    proxy: int
    # The session to ask it for: the request's own, or one that the engine made up.
    session: str | None
    # "any" open connection of the same proxy, session and target will do, or a "fresh" one is needed.
    connection: str
    # The number of this attempt, from 1.
    number: int
    # When the shell gives this attempt up.
    deadline: int
    ticket: Ticket


@dataclass(frozen=True)
class Go:
    """Make this attempt, then report how it ended."""

    choice: Choice


@dataclass(frozen=True)
class Wait:
    """Not yet: ask again then. Waiters of one limit get different moments."""

    until: int
    slug: str | None
    whose: str


@dataclass(frozen=True)
class Refused:
    """No attempt is made; the caller is answered here, with the cause that was seen before.

    `why` is remembered, circuit_open, too_long, deadline or no_proxy.
    """

    why: str
    slug: str | None
    cause: str
    until: int | None = None


@dataclass(frozen=True)
class Done:
    """This is the answer, good or not the engine's to repeat."""


@dataclass(frozen=True)
class Pending:
    """Another attempt of the request is on its way."""


@dataclass(frozen=True)
class Retry:
    """Ask for admission again at this moment; `fresh` says what shall differ: connection, exit or proxy."""

    at: int
    fresh: str


@dataclass(frozen=True)
class GiveUp:
    """It failed, and no further attempt is made.

    `why` is class, limit, not_repeatable, no_other_exit, deadline, budget or circuit_open.
    """

    why: str


class Blocked(Exception):
    """What stands between a request and its attempt: a `Wait` or a `Refused`."""

    def __init__(self, admission):
        super().__init__(admission)
        self.admission = admission
