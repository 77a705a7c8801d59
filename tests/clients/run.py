#!/usr/bin/env python3
"""Runs the real clients against real gateways and checks what each of them shows when the proxy says no.

Everything is on 127.0.0.1: origins in clear and in TLS, a resolver, and for each client and way in a gateway of its own: a
wrong password slows the next one from the same address down, and one client's guesses must not decide what another sees. The
gateway's records say whether the client came by the way that it was meant to. With --write-docs what was seen becomes
docs/clients.md.
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import clients
import document
import gateways
import web_page
from clients import Client, Route, Shows
from gateways import HANG, LOOK_AGAIN
from origins import BODY, CUT, NAME, Certificates, Origin, Resolver

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = ("*.py", "*.mjs", "*.java")


@dataclass(frozen=True)
class Case:
    name: str
    outcome: str = "ok"
    status: int = 200
    # What follows the key's id, as it stands in a URL.
    user_suffix: str = ""
    # Whether the client can be told: a tunnel's end comes too late.
    is_told: bool = True

    @property
    def fails(self):
        return self.outcome != "ok"


RIGHT = Case("right password")
# The client must decode what stands in the URL; quickstart has an exit in that pool.
EXIT = Case("right password, the user name percent-encoded, through an exit", user_suffix="%2Dpool-residential")
ENCODED = Case("right password, the user name percent-encoded", user_suffix="%2Dpool%2Ddirect")
WRONG = Case("wrong password", "credentials_wrong", 407)
PORT = Case("denied port", "port_denied", 403)
HOST = Case("unknown host", "dns_not_found", 502)
# A reset, and the gateway's record.
MIDWAY = Case("reset midway", "target_reset", is_told=False)


@dataclass
class Seen:
    """One client in one case by one way over one scheme."""

    route: Route
    case: Case
    scheme: str
    code: int
    output: str
    problems: list


class Matrix:
    def __init__(self, outgate, folder):
        self.outgate, self.folder = outgate, folder
        self.certificates = Certificates(folder)
        self.resolver = Resolver()
        self.origins = {"http": Origin(), "https": Origin(self.certificates.server())}
        self.ports = [origin.port for origin in self.origins.values()]
        self.environment = clients.environment(folder, self.certificates.ca)
        trusted = {"ca": str(self.certificates.ca), "trust": str(clients.java_trust(folder, self.certificates.ca))}
        self.places = clients.places(ROOT) | trusted
        stage(Path(self.places["snippets"]))

    def gateway(self, way):
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return gateways.start(way, self.outgate, folder, self.resolver.address, self.ports, self.certificates)

    def url(self, client, case, scheme):
        if case is HOST:
            return f"{scheme}://nosuch.invalid/"
        port = client.denied_port if case is PORT else self.origins[scheme].port
        return f"{scheme}://{NAME}:{port}{CUT if case is MIDWAY else '/'}"

    def run_route(self, client, route):
        """Every case over every scheme."""
        gateway = self.gateway(route.way)
        try:
            seen = [self.run_case(client, route, gateway, case, scheme) for case, scheme in wanted(route)]
        finally:
            gateway.stop()
        if any(one.problems for one in seen):
            print(f"--- the gateway's log during {client.name}, {route.way.name}\n{gateway.log()}---", file=sys.stderr)
        return seen

    def run_case(self, client, route, gateway, case, scheme):
        secret = "wrong-password" if case is WRONG else gateway.secret
        proxy = gateways.proxy_url(route.way, gateway, case.user_suffix, secret)
        argv = route.argv(self.places, proxy, self.url(client, case, scheme))
        before = {record["request_id"] for record in gateway.records()}
        try:
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=HANG, env=self.environment,
                                  stdin=subprocess.DEVNULL)
            code, raw = done.returncode, done.stdout + "\n" + done.stderr
            output = significant(done.stdout) + significant(done.stderr, client.keep_lines)
        except subprocess.TimeoutExpired:
            code, raw, output = -1, "", ["(nothing for %d s)" % HANG]
        seen = Seen(route, case, scheme, code, self.plain("\n".join(output), route.way, gateway), [])
        seen.problems = [*problems(client, seen), *unrecorded(gateway, route.way, case, before)]
        mark = "FAIL" if seen.problems else "ok"
        print(f"  {mark:4} {client.name}, {route.way.name}: {case.name}, {scheme}", flush=True)
        for problem in seen.problems:
            print(f"       {problem}\n       exit status {code}; it showed:\n{raw}", file=sys.stderr, flush=True)
        return seen

    def plain(self, output, way, gateway):
        """What changes from run to run gets a name."""
        for real, name in (
            (gateway.address, way.shown),
            (gateway.secret, "SECRET"),
            (gateway.key, "KEY"),
            (self.places["snippets"] + "/", ""),
            *((f"{NAME}:{port}", NAME) for port in self.ports),
            *((f"port={port}", "port=PORT") for port in self.ports),
            *((str(port), "PORT") for port in self.ports),
        ):
            output = output.replace(real, name)
        for pattern, name in (
            (r"\boutgate-[a-z0-9]{6}\b", "GATEWAY"),
            (r"0x[0-9a-f]{6,}", "0x…"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE TIME"),
        ):
            output = re.sub(pattern, name, output)
        return output.strip()

    def version(self, client):
        argv = [part.format(**self.places) for part in client.version]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.environment)
        return (done.stdout.strip() or "unknown").splitlines()[0].split(" (")[0].rstrip(".")


def wanted(route):
    """The cases of a route, each with its scheme."""
    cases = [RIGHT, ENCODED if route.way.listener else EXIT, WRONG, PORT, HOST, MIDWAY]
    if route.way.by_source:
        cases = [case for case in cases if case not in (ENCODED, WRONG)]
    schemes = [scheme for scheme, shows in (("http", route.http), ("https", route.https)) if shows]
    return [(case, scheme) for case in cases for scheme in schemes if case is not EXIT or scheme == "https"]


def stage(folder):
    """Copies the snippets to where their packages are: Node looks for modules beside the importing file."""
    for pattern in SNIPPETS:
        for snippet in Path(__file__).parent.glob(pattern):
            (folder / snippet.name).write_text(snippet.read_text())


def significant(output, only=()):
    """Without stack frames: what a person reads first."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    if only:
        return [line for line in lines if line.startswith(only)]
    if any(line.startswith("Traceback") for line in lines):
        before = lines[: next(at for at, line in enumerate(lines) if line.startswith("Traceback"))]
        return [*before, lines[-1]]
    if any(re.match(r"\s+at ", line) for line in lines):
        told = re.compile(r"^\S*(Error|Exception)\b(?![.(])|^\[?cause\b|^Caused by|\bnet::ERR_")
        return [line.strip().removesuffix(" {") for line in lines if told.search(line.strip())]
    return lines


def problems(client, seen):
    """Only what is certain: a success shows the origin's body, a failure never does and says as much as promised."""
    text = BODY.decode().strip()
    if seen.code == -1:
        yield "it hung"
    elif not seen.case.is_told:
        if seen.code == 0:
            yield "exit status 0 for half an answer"
    elif not seen.case.fails:
        if seen.code != 0 or text not in seen.output:
            yield "the origin's answer did not arrive"
    else:
        if text in seen.output:
            yield "the origin's answer arrived in spite of the fault"
        if seen.code == 0 and (seen.scheme == "https" or client.fails_on_status):
            yield "exit status 0 in spite of the fault"
        yield from unkept(seen)


def unkept(seen):
    """What a failure was promised to show and does not."""
    route = seen.route
    promised = route.http if seen.scheme == "http" else route.https
    if seen.case is WRONG and route.wrong_password:
        promised = route.wrong_password
    shown = {
        Shows.SLUG: seen.case.outcome in seen.output,
        Shows.STATUS: str(seen.case.status) in seen.output,
        Shows.SOCKS: "SOCKS" in seen.output,
        Shows.BODY: bool(seen.output),
        Shows.NOTHING: True,
    }
    if not shown[promised]:
        yield f"{promised.value} is not in what it shows"


def unrecorded(gateway, way, case, before):
    """Whether the gateway has no record of it, by this way."""
    deadline = time.monotonic() + HANG
    while True:
        new = [record for record in gateway.records() if record["request_id"] not in before]
        found = [record for record in new if record["outcome"] == case.outcome]
        if any(record["protocol"] == way.recorded for record in found):
            return
        if time.monotonic() > deadline:
            yield f"no record of {case.outcome} over {way.recorded}; records: {new}"
            return
        time.sleep(LOOK_AGAIN)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outgate", default=ROOT / "target/debug/outgate", type=Path)
    parser.add_argument("--only", action="append", default=[], help="clients whose name contains this")
    parser.add_argument("--write-docs", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_docs and arguments.only:
        parser.error("--write-docs needs every client")
    chosen = [client for client in clients.CLIENTS if not arguments.only or any(part in client.name for part in arguments.only)]
    if not chosen:
        parser.error("no such client")

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="outgate-clients-") as folder:
        matrix = Matrix(arguments.outgate.resolve(), Path(folder))
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            # The slow ones, which stand last, begin first.
            routes = {
                (client.name, route): pool.submit(matrix.run_route, client, route)
                for client in reversed(chosen) for route in client.routes
            }
            page = None if arguments.only else pool.submit(web_page.check, matrix)
            versions = {client.name: pool.submit(matrix.version, client) for client in chosen}
        results = [
            (client, versions[client.name].result(), [one for route in client.routes for one in routes[client.name, route].result()])
            for client in chosen
        ]
        wrong = page.result() if page else []
    for problem in wrong:
        print(f"  FAIL the page in a browser: {problem}", file=sys.stderr)
    failed = sum(bool(one.problems) for _, _, seen in results for one in seen) + len(wrong)
    total = sum(len(seen) for _, _, seen in results)
    print(f"{total} runs of {len(chosen)} clients, {failed} problems, {time.monotonic() - started:.0f} s")
    if arguments.write_docs and not failed:
        page = ROOT / "docs/clients.md"
        page.write_text(document.page(results, Path(__file__).parent))
        print(f"wrote {page.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
