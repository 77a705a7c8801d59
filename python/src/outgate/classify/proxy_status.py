"""`Proxy-Status` (RFC 9209) of anybody, read tolerantly: as much of it as can be read, and never an error.

The strict grammar of structured fields drops a whole field for one bad character. What is wanted here is the opposite: in the
wild `error` is a String as often as a Token, strings end without their quote, keys have capitals, and `received-status` holds
the status that the proxy made up itself. Hence a reader of our own.
"""

from dataclasses import dataclass

from . import error_types, sentence
from .evidence import FORWARDED
from .fault import render
from .fields import number
from .verdict import EXIT, LIKELY, PROXY, Verdict

# The most members that are read, and parameters of one of them.
MOST_MEMBERS = 16
MOST_PARAMETERS = 32


@dataclass(frozen=True)
class Member:
    """What one hop said: the first member is the one closest to the target."""

    hop: str = ""
    parameters: tuple = ()

    def parameter(self, key):
        """The first value of a parameter, or None."""
        return next((value for known, value in self.parameters if known == key), None)

    @property
    def error(self):
        """What it says went wrong, or None."""
        return self.parameter("error") or None

    @property
    def received_status(self):
        """The status that it received from the hop before it, or None."""
        return number(self.parameter("received-status"))


def members(headers):
    """The members of an answer's `Proxy-Status` fields, in their order."""
    found = []
    for value in headers.all("Proxy-Status"):
        for item in _pieces(value, ",", MOST_MEMBERS - len(found)):
            hop, *parts = _pieces(item, ";", 1 + MOST_PARAMETERS)
            member = Member(_unquoted(hop), tuple(_parameter(part) for part in parts if part.split("=", 1)[0].strip()))
            if member != Member():
                found.append(member)
    return found


def _parameter(part):
    key, equals, value = part.partition("=")
    return key.strip().lower(), _unquoted(value if equals else "?1")


def _pieces(text, separator, most):
    """Cuts at `separator` outside of quotes, `most` pieces. A quote that never closes ends with the text."""
    pieces, begin, quoted, escaped = [], 0, False, False
    for at, c in enumerate(text):
        if len(pieces) >= most:
            return pieces
        if escaped:
            escaped = False
        elif c == "\\" and quoted:
            escaped = True
        elif c == '"':
            quoted = not quoted
        elif c == separator and not quoted:
            pieces.append(text[begin:at].strip())
            begin = at + 1
    pieces.append(text[begin:].strip())
    return pieces[:most]


def _unquoted(text):
    """A string without its quotes and escapes, anything else as it stands."""
    text = text.strip()
    if not text.startswith('"'):
        return text
    plain, escaped = [], False
    for c in text[1:]:
        if escaped:
            plain.append(c)
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == '"':
            break
        else:
            plain.append(c)
    return "".join(plain)


def said(evidence, status):
    """What `Proxy-Status` makes of the answer. None if it says nothing, or nothing that helps."""
    hops = members(evidence.headers)
    at = next((at for at in reversed(range(len(hops))) if hops[at].error), None)
    if at is None:
        return None
    # A hop that received a status passes on what somebody before it said; an error in front of it is from the target's side,
    # if nothing in between told of it. One that says both of itself found the error in what it received.
    passed_on = hops[-1].error is None and hops[-1].received_status is not None
    if passed_on and evidence.way == FORWARDED:
        return None
    member, by_exit = hops[at], at + 1 < len(hops)
    details = member.parameter("details") or ""
    ours = sentence.told_by(details)
    fits = (ours,) if ours else error_types.meant_by(member, status)
    if not fits:
        return None
    why = f'Proxy-Status of "{member.hop}" says error={member.error}'
    return (
        Verdict.of(fits[0], EXIT if by_exit else PROXY, LIKELY, why)
        .also(fits)
        .but(said=render(details) if details else None, exit=render(member.hop) if by_exit else None)
    )


def says_passed_on(evidence):
    """The status that the nearest hop says it passed on, without an error of its own; else None."""
    hops = members(evidence.headers)
    return hops[-1].received_status if hops and hops[-1].error is None else None
