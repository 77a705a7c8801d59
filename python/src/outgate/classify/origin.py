"""The target's own answers, told from the proxy's."""

from . import challenge, proxy_status
from .evidence import CONNECT
from .fault import Fault
from .verdict import ORIGIN, Verdict, less_sure

# Fields that a forward proxy does not write into an answer of its own: each is somebody's web site.
_OF_A_SITE = (
    "Set-Cookie",
    "ETag",
    "Last-Modified",
    "Strict-Transport-Security",
    "Content-Security-Policy",
    "Access-Control-Allow-Origin",
    "WWW-Authenticate",
    "Alt-Svc",
    "Accept-Ranges",
    "Report-To",
    "X-Powered-By",
    "X-Frame-Options",
    "CF-RAY",
    "X-Amz-Cf-Id",
    "X-Amz-Request-Id",
    "X-Served-By",
    "X-Azure-Ref",
    "X-Vercel-Id",
    "Akamai-GRN",
)

# How `Server` begins where a web site or its delivery network answers.
_SERVERS_OF_SITES = (
    "cloudflare",
    "cloudfront",
    "akamaighost",
    "akamainetstorage",
    "amazons3",
    "awselb",
    "nginx",
    "apache",
    "microsoft-iis",
    "litespeed",
    "openresty",
    "gws",
    "gse",
    "esf",
    "vercel",
    "netlify",
    "caddy",
    "gunicorn",
    "uvicorn",
    "werkzeug",
    "kestrel",
    "jetty",
    "tengine",
    "ddos-guard",
    "sucuri",
    "varnish",
    "envoy",
    "istio-envoy",
    "bunnycdn",
    "cdn77",
)

# Fields that only a proxy writes into an answer of its own.
_OF_A_PROXY = ("Proxy-Authenticate", "Proxy-Connection", "Proxy-Agent", "X-Proxy-Error", "X-Squid-Error")

# Who most likely gave an answer that both could have given.
SITE, BY_PROXY, UNKNOWN = "site", "proxy", "unknown"


def is_a_proxys(status):
    """Whether only proxies use this status: payment and the private ones of their trade. 520 to 527 and 530 are not among
    them, because a large delivery network answers with those too."""
    return status in (407, 470, 490, 511, 540) or 452 <= status <= 455 or 590 <= status <= 599


def author(evidence, status):
    """SITE, BY_PROXY or UNKNOWN, and the sign of a site. A proxy's signs are told first: it may well run on a web server."""
    headers = evidence.headers
    passed_on = proxy_status.says_passed_on(evidence)
    if passed_on is not None:
        return SITE, f"Proxy-Status says that {passed_on} was received and passed on"
    if is_a_proxys(status) or any(map(headers.has, _OF_A_PROXY)):
        return BY_PROXY, ""
    field = next(filter(headers.has, _OF_A_SITE), None)
    if field:
        return SITE, f"{field} is a web site's field"
    server = (headers.first("Server") or "").lower()
    known = next(filter(server.startswith, _SERVERS_OF_SITES), None)
    if known:
        return SITE, f"Server is {known}"
    via = headers.first("Via")
    if via is not None and "squid" not in via.lower():
        return SITE, "Via says that the answer was passed on"
    return UNKNOWN, ""


def said(evidence, status, confidence, sign):
    """What the target's answer means; fine if nothing is wrong with it."""
    verdict = challenged(evidence, status, confidence)
    if verdict is not None:
        return verdict
    slug = _slug(status)
    if slug is None:
        return Verdict.fine(ORIGIN, f"the target answered {status}", confidence)
    fault = Fault.raised(slug, host=evidence.host, status=status)
    return Verdict.raised(fault, ORIGIN, confidence, f"the target's own {status}: {sign}")


def challenged(evidence, status, confidence):
    """A page that wants to see a person, whatever its status; None if it is none."""
    sign = None if evidence.way == CONNECT else challenge.sign(evidence, status)
    if sign is None:
        return None
    fault = Fault.raised("target_challenged", host=evidence.host)
    why = f"a challenge of {sign.maker}: {sign.what}"
    return Verdict.raised(fault, ORIGIN, less_sure(confidence, sign.confidence), why)


def _slug(status):
    """The fault of the target's own status. What a program has to deal with itself (404, 410, 422) is none."""
    # A target that wants a proxy's login is a broken one, or a proxy in front of it.
    if status in (401, 407):
        return "target_unauthorized"
    # 451 is a refusal for where one comes from; another exit may be somewhere else.
    if status in (403, 451):
        return "target_forbidden"
    # 420 and 430 are what some large sites answer instead.
    if status in (420, 429, 430):
        return "target_rate_limited"
    if status == 503:
        return "target_unavailable"
    # 520 to 527 and 530: a delivery network that could not reach its customer's server.
    if status in (502, 504, 530) or 520 <= status <= 527:
        return "target_gateway_error"
    return "target_error" if 500 <= status <= 599 else None
