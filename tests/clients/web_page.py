"""The page at the proxy's own address, in a real browser: it opens, fits a phone, is dark in the dark, and its lines work."""

import json
import subprocess

from gateways import HANG, HTTP, HTTP2
from origins import BODY, NAME


def check(matrix):
    """Every problem, one sentence each."""
    return [f"{way.name}: {problem}" for way in (HTTP, HTTP2) for problem in check_way(matrix, way)]


def check_way(matrix, way):
    gateway = matrix.gateway(way)
    try:
        command = [matrix.places["node"], matrix.places["snippets"] + "/web_page.mjs", f"{way.scheme}://{gateway.address}/",
                   matrix.places["chromium"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, env=matrix.environment)
        if done.returncode:
            return [done.stderr]
        shown = json.loads(done.stdout)
        told = [record for record in gateway.records() if record["outcome"] == "wrong_protocol"]
        asked = {
            "the status is 400": shown["status"] == 400,
            "it is HTML": shown["type"] == "text/html; charset=utf-8",
            "it says what this is": shown["heading"] == "This is a proxy, not a web site",
            "it names the request": any(record["request_id"] == shown["request"] for record in told),
            "the request came by this way": any(record["protocol"] == way.recorded for record in told),
            "it fits a phone": shown["widthNeeded"] <= shown["widthThere"],
            "it is dark in the dark": shown["colors"]["dark"] != shown["colors"]["light"],
            "nothing is refused or wrong in it": not shown["complaints"],
            "it has lines to paste": bool(shown["lines"]),
        }
        wrong = [f"not true: {what} ({shown})" for what, is_so in asked.items() if not is_so]
        return wrong + [problem for line in shown["lines"] for problem in check_line(matrix, gateway, line)]
    finally:
        gateway.stop()


def check_line(matrix, gateway, line):
    """A line to paste, with a real key and a target that there is."""
    url = f"https://{NAME}:{matrix.origins['https'].port}/"
    line = line.replace("KEY:SECRET", f"{gateway.key}:{gateway.secret}").replace("https://example.com/", url)
    curl, *rest = line.split()
    # The certificate is a test's own.
    command = [curl, "-sS", "--proxy-cacert", matrix.places["ca"], *rest]
    done = subprocess.run(command, capture_output=True, timeout=HANG, env=matrix.environment)
    return [] if done.stdout == BODY else [f"{line}: {done.stdout} {done.stderr}"]
