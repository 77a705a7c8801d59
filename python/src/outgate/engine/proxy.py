"""The upstream proxies as the engine sees them: no addresses, only what choosing needs."""

from dataclasses import dataclass

# How a proxy's exits can be changed from here: it is one exit; every new connection may leave through another; or, as a
# number, a word in the credentials keeps one exit, and so many words are made up at a time.
ONE = "one"
ROTATING = "rotating"


def sessions(most):
    """Exits that are chosen by a session's name, at most so many at a time."""
    return int(most)


@dataclass(frozen=True)
class Proxy:
    """One upstream proxy, named without credentials. Proxies with the same account share quota, rate and refusals."""

    name: str
    exits: object = ONE
    account: str | None = None
    tier: int = 0
    weight: int = 1

    @property
    def drawn_on(self):
        """Whose account it draws on."""
        return self.name if self.account is None else self.account
