"""Whose limit or refusal it is: the names under which they are kept, as tuples that begin with their kind."""


def account(proxy):
    """Everything that draws on an account."""
    return ("account", proxy.drawn_on)


def wish(proxy, request):
    """What an account asks for with this targeting."""
    return ("wish", proxy.drawn_on, request.ask.targeting)


def place(proxy, request):
    """What an account asks of this `host:port`."""
    return ("place", proxy.drawn_on, request.target)


def upstream(number, proxy):
    """One proxy, whoever asks."""
    return ("proxy", number, proxy.name)


def lane(number, session, request):
    """One exit, as far as it can be chosen from here, on one domain."""
    return ("lane", number, session, request.domain)


def domain(request):
    """A domain, through whichever exit."""
    return ("domain", request.domain)


def target(request):
    """A `host:port`, through whichever exit."""
    return ("target", request.target)


def shown(whose):
    """In words for people."""
    kind, *rest = whose
    if kind == "account" or (kind == "wish" and not rest[1]):
        return f"account {rest[0]}"
    if kind == "wish":
        return f"account {rest[0]} with {rest[1]}"
    if kind == "place":
        return f"{rest[1]} with account {rest[0]}"
    if kind == "proxy":
        return f"proxy {rest[1]}"
    if kind == "lane":
        return f"this exit on {rest[2]}" if rest[1] is None else f"session {rest[1]} on {rest[2]}"
    return f"{kind} {rest[0]}"
