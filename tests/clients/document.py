"""docs/clients.md from what the clients showed."""

INTRO = """\
<!-- Written by `tests/clients/run.py --write-docs` from real output. Do not edit. -->
# Clients: how each is pointed at the proxy, and what it shows when the proxy says no

Every line below was run, and every output printed, by the real client on one machine, without a network. Only what changes
from run to run has a name instead: `KEY`, `SECRET`, `GATEWAY` and `PORT`, and the proxy is `127.0.0.1:8080`, with TLS
`127.0.0.1:8443`.

| way in | proxy URL | listener ([configuration.md](configuration.md)) |
| --- | --- | --- |
| HTTP | `http://KEY:SECRET@HOST:PORT` | any without `certificate` |
| HTTPS | `https://KEY:SECRET@HOST:PORT` | with `certificate` and `key`; a client that offers HTTP/2 gets it |
| SOCKS5 | `socks5h://KEY:SECRET@HOST:PORT` | any without `certificate`; `socks5h`, so that the proxy resolves names |

In a URL, what is special in it is percent-encoded (`@` as `%40`), and the client decodes it. One that does not is told so:
`credentials_malformed`. Each client below was also given a user name with `%2D` for `-`.

What a user gets to see of a fault:

- Over **http** the proxy's answer comes *as if it were the target's*: the client reports no error of its own. The header
  `X-Proxy-Error` tells the two apart: a target cannot forge it.
- Over **https** the proxy answers a CONNECT that the program never sees. Most clients keep the status or the reason phrase
  and throw the headers and the body away. That is why the reason phrase carries the slug, as in
  `403 Forbidden (port_denied)`. Once the tunnel stands, everything in it is the target's, an `X-Proxy-Error` of its own
  included.
- **HTTP/2** has no reason phrase, and **SOCKS5** one byte for all reasons.
- What breaks **midway** is reset, never closed cleanly, so that half an answer is not taken for a whole one.

What a client hides is in the gateway's access record of that request, and among the key's own recent faults.
`outgate explain SLUG` says what a slug means and what to do.

## At a glance

What is left of a fault in the client's own output; the most telling thing only.
"""


def page(results, snippets):
    """`results` is [(Client, version, [Seen])]; `snippets` the folder of their files."""
    return "\n".join([INTRO, glance(results), *(section(*result, snippets) for result in results)])


def faults(seen):
    """The cases in which something goes wrong, in their order."""
    return list(dict.fromkeys(one.case for one in seen if one.case.fails))


def glance(results):
    cases = faults(one for _, _, seen in results for one in seen)
    rows = [["client", "way in", "target", *(case.name for case in cases)]]
    rows.append(["---"] * len(rows[0]))
    for client, _, seen in results:
        for route in client.routes:
            for scheme in ("https", "http"):
                told = {one.case: telling(one) for one in seen if one.route is route and one.scheme == scheme}
                if told:
                    rows.append([client.name, route.way.name, scheme, *(told.get(case, "") for case in cases)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def telling(seen):
    if seen.case.outcome in seen.output:
        return f"`{seen.case.outcome}`"
    if seen.case.is_told and str(seen.case.status) in seen.output:
        return f"{seen.case.status}"
    return "its body" if seen.code == 0 else "an error"


def section(client, version, seen, snippets):
    lines = [f"## {client.name}", "", f"Seen with {version}. {client.note}".strip(), "", "```sh"]
    for route in client.routes:
        lines += [f"# {route.way.name}", typed(client, route)]
    lines += ["```", ""]
    for snippet in dict.fromkeys(route.snippet for route in client.routes if route.snippet):
        lines += [f"`{snippet}`:", "", f"```{client.language}", (snippets / snippet).read_text().rstrip(), "```", ""]
    lines += ["| way in | target | what goes wrong | exit status | what it shows |", "|---|---|---|---|---|"]
    for one in sorted((one for one in seen if one.case.fails), key=lambda one: client.routes.index(one.route)):
        lines.append(f"| {one.route.way.name} | {one.scheme} | {one.case.name} | {one.code} | {cell(one.output)} |")
    return "\n".join(lines) + "\n"


def typed(client, route):
    command = route.typed
    if command is None and route.snippet:
        program = {"python": "python3", "js": "node"}[client.language]
        command = f"{program} {route.snippet} {{proxy}} {{url}}"
    if command is None:
        command = " ".join(route.command)
    scheme = "https" if route.https else "http"
    credentials = "" if route.way.by_source else "KEY:SECRET@"
    return command.format(proxy=f"{route.way.scheme}://{credentials}{route.way.shown}", url=f"{scheme}://example.com/")


def cell(output):
    """Each line as code, whatever it contains, in one cell of a table."""
    def code(line):
        line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
        return f"<code>{line}</code>"

    return "<br>".join(code(line) for line in output.splitlines()) or "(nothing)"
