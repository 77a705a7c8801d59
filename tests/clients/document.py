"""docs/clients.md from what the clients showed."""

INTRO = """\
<!-- Written by `tests/clients/run.py --write-docs` from real output. Do not edit. -->
# What each client shows when the proxy says no

Every line below was printed by the real client in a run on one machine, without a network. Only what changes from run to
run has a name instead: `KEY`, `SECRET`, `REQUEST-ID`, `GATEWAY` and `EXIT` for their names, `PORT`, and
`http://127.0.0.1:8080` for the proxy.

Two things decide what a user gets to see:

- Over **http** the proxy's answer comes *as if it were the target's*: the client reports no error of its own. The header
  `X-Proxy-Error` tells the two apart: a target cannot forge it.
- Over **https** the proxy answers a CONNECT that the program never sees. Most clients keep the status or the reason phrase
  and throw the headers and the body away. That is why the reason phrase carries the slug, as in
  `403 Forbidden (port_denied)`. What a client hides is in the gateway's access record of that request. Once the tunnel
  stands, everything in it is the target's, an `X-Proxy-Error` of its own included.

`outgate explain SLUG` says what a slug means and what to do.

## At a glance

What is left of a fault in the client's own output; the most telling thing only.
"""


def page(results, snippets):
    """`results` is [(Client, (version, [Seen]))]; `snippets` the folder of their files."""
    parts = [INTRO, glance(results)]
    parts += [section(client, version, seen, snippets) for client, (version, seen) in results]
    return "\n".join(parts)


def glance(results):
    faults = [one for one in results[0][1][1] if one.case.slug]
    head = ["client", *(f"{one.case.name}, {one.scheme}" for one in faults)]
    rows = [head, ["---"] * len(head)]
    for client, (_, seen) in results:
        rows.append([client.name, *(telling(one) for one in seen if one.case.slug)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def telling(seen):
    if seen.case.slug in seen.output:
        return f"`{seen.case.slug}`"
    if str(seen.case.status) in seen.output:
        return f"{seen.case.status}"
    return "its body" if seen.scheme == "http" and seen.code == 0 else "an error"


def section(client, version, seen, snippets):
    lines = [f"## {client.name}", "", f"Seen with {version}. {client.note}".strip(), ""]
    lines += ["```sh", typed(client), "```", ""]
    if client.snippet:
        lines += [f"`{client.snippet}`:", "", f"```{client.language}", (snippets / client.snippet).read_text().rstrip(), "```", ""]
    lines += ["| case | over | exit status | what it shows |", "|---|---|---|---|"]
    for one in seen:
        lines.append(f"| {one.case.name} | {one.scheme} | {one.code} | {cell(one.output)} |")
    return "\n".join(lines) + "\n"


def typed(client):
    command = client.typed
    if command is None:
        program = {"python": "python3", "js": "node"}[client.language]
        command = f"{program} {client.snippet} {{proxy}} {{url}}"
    return command.format(proxy="http://KEY:SECRET@127.0.0.1:8080", url="https://example.com/")


def cell(output):
    """Each line as code, whatever it contains, in one cell of a table."""
    def code(line):
        line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
        return f"<code>{line}</code>"

    return "<br>".join(code(line) for line in output.splitlines()) or "(nothing)"
