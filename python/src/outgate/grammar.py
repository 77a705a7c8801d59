"""How each provider is asked for a session: a word in the user name or password that keeps one exit.

What a provider takes as a word is narrower or wider than a session's name, so a name that does not fit is mapped to a word that
does, always to the same, as the Rust crate's `sessions` has it.
"""

import hashlib
import re
from dataclasses import dataclass, field

_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True)
class Grammar:
    """Where a session's word stands, and of what it is made."""

    # "user" or "password": behind which of them the word is put.
    place: str
    # `{}` stands for the word.
    template: str
    digits: bool = field(default=False)
    shortest: int = 1
    longest: int = 64

    @classmethod
    def of(cls, provider):
        """The grammar of a provider by its name; None if there is none."""
        return KNOWN.get(provider)

    @classmethod
    def parse(cls, text):
        """A grammar of one's own: `user` or `password`, then what is put behind it, with `{}` for the word."""
        found = re.fullmatch(r"(user|password)([!-~]*)", text)
        place, template = found.groups() if found else ("", "")
        if template.count("{}") != 1 or len(template) > 64 or (place == "user" and ":" in template):
            raise ValueError(
                'write where the session\'s word goes: "user-session-{}" begins with user or password, then what is put behind it'
            )
        return cls(place, template)

    def word(self, session):
        """The session's name as this provider takes it: itself if it fits, else a word made of it."""
        letters = r"[1-9][0-9]*" if self.digits else r"[0-9A-Za-z]*"
        if re.fullmatch(letters, session) and self.shortest <= len(session) <= self.longest:
            return session
        length = max(min(self.longest, 12), self.shortest)
        hashed = hashlib.sha256(session.encode()).digest()[:length]
        if not self.digits:
            return "".join(_ALPHANUMERIC[byte & 31] for byte in hashed)
        # A number begins with no zero.
        return "".join(str(byte % 10 if at else 1 + byte % 9) for at, byte in enumerate(hashed))

    def apply(self, user, password, session):
        """User name and password that ask for this session."""
        word = self.template.replace("{}", self.word(session))
        return (user + word, password) if self.place == "user" else (user, password + word)


# Providers by the names that `providers` uses; from their public pages.
KNOWN = {
    "outgate": Grammar("user", "-session-{}"),
    "atlasvpn": Grammar("user", "-session-{}"),
    "proxies.fo": Grammar("user", "-session-{}"),
    "brightdata": Grammar("user", "-session-{}"),
    "oxylabs": Grammar("user", "-sessid-{}"),
    "decodo": Grammar("user", "-session-{}"),
    "iproyal": Grammar("password", "_session-{}", shortest=8, longest=8),
    "soax": Grammar("user", "-sessionid-{}"),
    "netnut": Grammar("user", "-sid-{}", digits=True, shortest=5, longest=9),
    "webshare": Grammar("user", "-{}", digits=True, longest=9),
    "apify": Grammar("user", ",session-{}", longest=50),
    "packetstream": Grammar("password", "_session-{}", shortest=8, longest=8),
    "infatica": Grammar("user", "_s_{}", longest=32),
    "nimble": Grammar("user", "-session-{}"),
    "databay": Grammar("user", "-sessionId-{}"),
    "illusory": Grammar("user", "-session-{}"),
    "anyip": Grammar("user", ",session_{}", longest=32),
    "thordata": Grammar("user", "-sessid-{}"),
    "geonode": Grammar("user", "-session-{}", longest=25),
    "evomi": Grammar("password", "_session-{}", shortest=6, longest=10),
    "dataimpulse": Grammar("user", ";sessid.{}"),
}
