"""The log of attempts: time, proxy, exit, target, code, response headers, number. Nothing secret is in it."""

from dataclasses import dataclass, field

# Fields whose value is somebody's secret: the name stays, the value goes.
SECRET = {
    "set-cookie",
    "set-cookie2",
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "proxy-authentication-info",
}
MOST_FIELDS = 64
LONGEST_VALUE = 512


@dataclass(frozen=True)
class Attempt:
    """One attempt, as it is logged. `at` is Unix time in seconds, `waited` and `took` are seconds."""

    at: float
    number: int
    proxy: str
    session: str | None
    exit: str | None
    target: str
    status: int | None
    slug: str | None
    provenance: str | None
    waited: float
    took: float
    headers: tuple = field(default=(), repr=False)


def kept_headers(pairs):
    """An answer's fields as an attempt keeps them: bounded, printable, cookies and credentials without their values."""
    kept = []
    for name, value in list(pairs)[:MOST_FIELDS]:
        shown = "(not kept)" if name.lower() in SECRET else "".join(c if " " <= c <= "~" else "?" for c in value[:LONGEST_VALUE])
        kept.append((name, shown))
    return tuple(kept)
