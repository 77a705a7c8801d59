"""The fault catalogue: what `outgate explain --json` says, as the package carries it."""

import json
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Row:
    """One fault: its stable name, who owns it, whether a retry helps, who can end it."""

    slug: str
    layer: str
    status: int
    retry: str
    fixer: str
    sentence: str
    cause: str
    fix: str
    # The sentence with plausible facts, and the names of its facts.
    example: str
    facts: tuple
    # Which end sees it: "gateway", or the user's.
    seen: str
    # The RFC 9209 error type; none for the target's own answers.
    rfc9209: str | None
    # The byte of a SOCKS5 reply.
    socks5: int
    # Status, reason and fixed body by the dialect's name.
    dialects: dict


def _rows():
    pages = json.loads(files(__package__).joinpath("catalogue.json").read_text())
    # Of pages that a newer catalogue may bring only what is known here is taken.
    known = Row.__dataclass_fields__
    return {page["slug"]: Row(**{name: page[name] for name in known}) for page in pages}


ROWS = _rows()


def layer(slug):
    """The layer that owns a fault."""
    return ROWS[slug].layer
