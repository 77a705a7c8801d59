"""Answers of Outgate itself, in whichever dialect: the slug is in a field, in the reason phrase, or the sentence is known."""

from ..catalogue import ROWS
from . import origin, proxy_status, sentence
from .evidence import FORWARDED, TUNNELLED
from .fault import render
from .verdict import CERTAIN, EXIT, LIKELY, ORIGIN, PROXY, TRANSPORT, Verdict

_PROVENANCE = {"origin": ORIGIN, "transport": TRANSPORT}


def said(evidence):
    """What Outgate said. None if this is no answer of Outgate's, or one of a version that knows more faults than this one."""
    # What came through a tunnel is the target's, whatever it writes: nobody on the way could have stripped it. And a gateway
    # of another make strips nothing, so that behind one of those a target could write what it likes.
    other_make = evidence.provider is not None and evidence.provider.dialect is None
    if evidence.way == TUNNELLED or (other_make and evidence.way == FORWARDED):
        return None
    verdict = _by_field(evidence) or _by_words(evidence)
    if verdict is None:
        return None
    hops = proxy_status.members(evidence.headers)
    at = next((at for at, hop in enumerate(hops) if hop.error), None)
    # Whoever found it stands first; behind an exit stand the gateways that passed its word on.
    exit = render(hops[at].hop) if at is not None and at + 1 < len(hops) else None
    details = None if at is None else hops[at].parameter("details")
    request_id = evidence.headers.first("X-Outgate-Request-Id")
    return verdict.but(
        provenance=EXIT if exit is not None and verdict.provenance == PROXY else verdict.provenance,
        exit=exit,
        request_id=None if request_id is None else render(request_id),
        said=evidence.line() if details is None else render(details),
    )


def _by_field(evidence):
    """The field that every answer of Outgate's has, in every dialect."""
    slug = evidence.headers.first("X-Proxy-Error")
    if slug not in ROWS:
        return None
    # Others use the field's name too, with words of their own. And an answer that was passed on by nobody we know (ours are
    # told by who is asked, without Via) may be a target's, which that one would not have stripped.
    passed_on = evidence.way == FORWARDED and evidence.provider is None and evidence.headers.has("Via")
    ours = evidence.headers.has("X-Outgate-Request-Id") and not passed_on
    return _told(slug, CERTAIN if ours else LIKELY, f"X-Proxy-Error says {slug}")


def _by_words(evidence):
    """The words alone, which a gateway passes on as a target writes them: not where anything shows that it did."""
    if evidence.way == FORWARDED and origin.author(evidence, evidence.status or 0)[0] == origin.SITE:
        return None
    return _by_reason(evidence) or _by_sentence(evidence)


def _by_reason(evidence):
    """`Forbidden (port_denied)`: for clients that show nothing else."""
    reason = evidence.reason or ""
    slug = reason[:-1].rpartition(" (")[2] if reason.endswith(")") and " (" in reason else None
    if slug not in ROWS:
        return None
    return _told(slug, LIKELY if evidence.way == FORWARDED else CERTAIN, f"the reason phrase says {slug}")


def _by_sentence(evidence):
    """The one-line body, where fields and reason are lost."""
    line = evidence.raw_line()
    if line is None or evidence.status is None or evidence.status < 400:
        return None
    slug = sentence.told_by(line)
    # The user's end tells its own faults with their fields; without them such a sentence is somebody's web page.
    if slug is None or ROWS[slug].seen != "gateway":
        return None
    return _told(slug, LIKELY, f"the body is the sentence of {slug}")


def _told(slug, confidence, why):
    return Verdict.of(slug, _PROVENANCE.get(ROWS[slug].layer, PROXY), confidence, why)
