"""Pages that want to see a person: CAPTCHAs and browser checks, by the marks that their makers' pages have.

Conservative where it costs most: at a success only a mark that a page of content can't have counts, because log-in forms have
CAPTCHAs too and are what was asked for.
"""

from typing import NamedTuple

from .verdict import DOCUMENTED, LIKELY


class Sign(NamedTuple):
    """A mark that was found: who makes such pages, what was seen, how sure it is."""

    maker: str
    what: str
    confidence: str


# A field that says it: name, how its value begins, maker, confidence.
_FIELDS = (
    # developers.cloudflare.com: "set to challenge" on every challenge page.
    ("cf-mitigated", "challenge", "Cloudflare", DOCUMENTED),
    # docs.aws.amazon.com/waf: challenge with 202, captcha with 405.
    ("x-amzn-waf-action", "challenge", "AWS WAF", DOCUMENTED),
    ("x-amzn-waf-action", "captcha", "AWS WAF", DOCUMENTED),
    ("x-vercel-mitigated", "challenge", "Vercel", LIKELY),
    ("x-datadome", "protected", "DataDome", LIKELY),
)

# Words of a page (in lower case), all of which must be there, and the maker. They count with a status that refuses.
_WORDS = (
    (("/cdn-cgi/challenge-platform/",), "Cloudflare"),
    (("_cf_chl_opt",), "Cloudflare"),
    (("cf-browser-verification",), "Cloudflare"),
    (("captcha-delivery.com",), "DataDome"),
    (("px-captcha",), "HUMAN"),
    (("_incapsula_resource",), "Imperva"),
    (("incapsula incident id",), "Imperva"),
    (("awswafintegration",), "AWS WAF"),
    (("ddos-guard", "checking your browser"), "DDoS-Guard"),
    (("sec-if-cpt-container",), "Akamai"),
    (("google.com/recaptcha/", "unusual traffic"), "Google"),
    (("<title>just a moment...</title>",), "Cloudflare"),
    (("checking your browser before accessing",), "a browser check"),
    (("verify you are human",), "a browser check"),
    (("verify that you are not a robot",), "a browser check"),
    (("g-recaptcha",), "a CAPTCHA"),
    (("h-captcha",), "a CAPTCHA"),
    (("cf-turnstile",), "a CAPTCHA"),
)

# The same for a success: only what is nothing but a challenge.
_WORDS_AT_A_SUCCESS = (
    (("<title>just a moment...</title>", "_cf_chl_opt"), "Cloudflare"),
    (("_incapsula_resource", "incapsula incident id"), "Imperva"),
    (("captcha-delivery.com/captcha/",), "DataDome"),
    (("sec-if-cpt-container", "akamai"), "Akamai"),
)


def sign(evidence, status):
    """The mark of a challenge in the answer, or None."""
    for name, begins, maker, confidence in _FIELDS:
        value = (evidence.headers.first(name) or "").lower()
        # That a site is protected says nothing about an answer that it gave.
        decides = name != "x-datadome" or status in (401, 403, 405, 429)
        if value.startswith(begins) and decides:
            return Sign(maker, f"{name}: {begins}", confidence)
    page = evidence.text().lower()
    for words, maker in _words_that_count(status):
        if all(word in page for word in words):
            return Sign(maker, f'the page has "{words[0]}"', LIKELY)
    return None


def _words_that_count(status):
    if 200 <= status < 300:
        return _WORDS_AT_A_SUCCESS
    return _WORDS if status in (401, 403, 405, 406, 429, 503) else ()
