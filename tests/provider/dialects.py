"""How the simulated provider spells its refusals: as the real ones document them."""

REASONS = {
    402: "Payment Required",
    403: "Forbidden",
    407: "Proxy Authentication Required",
    429: "Too Many Requests",
    452: "Bandwidth Limit Exceeded",
    453: "Threads Limit Exceeded",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}

# kind: status and body. A third member is the value of the provider's own header.
DIALECTS = {
    # Nobody's in particular: statuses, and the words that gateways use.
    "bare": {
        "credentials": (407, "Invalid username or password"),
        "quota": (402, "Traffic limit reached"),
        "rate": (429, "Too many requests"),
        "denied": (403, "Access to this host is not allowed by the proxy"),
        "gateway": (502, "Bad Gateway"),
        "unknown": (502, "DNS resolution failed"),
        "refused": (502, "Connection refused by target"),
        "timeout": (504, "Gateway Timeout"),
    },
    "atlasvpn": {
        "credentials": (407, "Invalid or expired access token"),
        "quota": (402, "Bandwidth quota exhausted for this period"),
        "rate": (429, "Rate limit exceeded"),
        "denied": (403, "Target not allowed"),
        "gateway": (502, "No nodes available"),
        "unknown": (502, "Target could not be resolved"),
        "refused": (502, "Target refused the connection"),
        "timeout": (504, "Node did not acknowledge the tunnel"),
    },
    "proxies.fo": {
        "credentials": (407, "Incorrect username or password"),
        "quota": (452, "exceeded bandwidth limit"),
        "rate": (453, "exceeded threads limit"),
        "denied": (403, "Forbidden"),
        "gateway": (502, "Bad Gateway"),
        "unknown": (502, "Bad Gateway"),
        "refused": (502, "Bad Gateway"),
        "timeout": (502, "Bad Gateway"),
    },
    "oxylabs": {
        "credentials": (407, "", "Access denied: user authentication failed"),
        "quota": (407, "", "Access denied: traffic limit reached"),
        "rate": (429, "", "Too many requests"),
        "denied": (403, "", "Access denied: restricted target"),
        "gateway": (502, "", "Bad gateway"),
        "unknown": (502, "", "Bad response: invalid response"),
        "refused": (504, "", "cannot reach target"),
        "timeout": (504, "", "request timed out"),
    },
}

SESSIONS = {
    "bare": ("{user}-session-{session}", "-session-"),
    "atlasvpn": ("{user}-session-{session}", "-session-"),
    "proxies.fo": ("{user}-session-{session}", "-session-"),
    "oxylabs": ("customer-{user}-sessid-{session}", "-sessid-"),
}


def spell(dialect, kind):
    """Status, reason, headers and body of a refusal."""
    status, body, *header = DIALECTS[dialect][kind]
    headers = [("Content-Type", "text/plain"), ("Connection", "close")]
    if header:
        headers.append(("X-Error-Description", header[0]))
    if status == 407:
        headers.append(("Proxy-Authenticate", 'Basic realm="proxy"'))
    return status, REASONS[status], headers, body


def user_name(dialect, user, session=None):
    """The user name that asks for a session, or for none."""
    form, word = SESSIONS[dialect]
    named = form.format(user=user, session=session or "")
    return named if session else named.split(word)[0]


def session_of(dialect, name):
    """The session that a user name asks for."""
    word = SESSIONS[dialect][1]
    return name.split(word, 1)[1].split("-")[0] if word in name else None
