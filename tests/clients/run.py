#!/usr/bin/env python3
"""Runs real clients through a real gateway and looks at what each shows its user. Loopback only, no network.

    run.py [--outgate PATH] [--only NAME]... [--write-docs]

Every client gets a gateway of its own: a wrong password slows the next one from the same address down, and one
client's guesses must not decide what another sees. With --write-docs what was seen becomes docs/clients.md.
"""

import argparse
import concurrent.futures
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import clients
import document
from clients import Shows
from origins import BODY, NAME, Certificates, Origin, Resolver

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = ("*.py", "*.mjs", "*.java")
# Only ends a run that hangs: the slowest client, a browser, needs a few seconds.
HANG = 90


@dataclass(frozen=True)
class Case:
    name: str
    slug: "str | None" = None
    status: int = 200
    modifiers: str = ""


RIGHT = Case("right password")
EXIT = Case("right password, through an exit", modifiers="-pool-residential")
WRONG = Case("wrong password", "credentials_wrong", 407)
PORT = Case("denied port", "port_denied", 403)
HOST = Case("unknown host", "dns_not_found", 502)
CASES = (RIGHT, EXIT, WRONG, PORT, HOST)


@dataclass
class Seen:
    """One client in one case over one scheme."""

    case: Case
    scheme: str
    code: int
    output: str
    problems: list


class Gateway:
    """`outgate quickstart` in a throw-away data folder, on free ports."""

    def __init__(self, outgate, folder, resolver, ports):
        self.stderr = open(folder / "gateway.log", "w+")
        opened = [word for port in ports for word in ("--allow-port", str(port))]
        command = [outgate, "quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--data", folder / "data"]
        command += ["--allow-target", "127.0.0.0/8", *opened, "--json"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.stderr, text=True,
            env=os.environ | {"OUTGATE_DNS_SERVERS": resolver},
        )
        try:
            self.ready = json.loads(self.first_line())
        except ValueError as error:
            self.stop()
            raise SystemExit(f"the gateway did not become ready ({error}):\n{self.log()}")
        self.address = self.ready["proxy_url"].rsplit("@", 1)[-1].rstrip("/")

    def first_line(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout=HANG):
                raise ValueError("no line on stdout")
        return self.process.stdout.readline()

    def proxy(self, case):
        secret = "wrong-password" if case is WRONG else self.ready["secret"]
        return f"http://{self.ready['key_id']}{case.modifiers}:{secret}@{self.address}"

    def log(self):
        self.stderr.seek(0)
        return self.stderr.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Matrix:
    def __init__(self, outgate, folder):
        self.outgate, self.folder = outgate, folder
        certificates = Certificates(folder)
        self.resolver = Resolver()
        self.origins = {"http": Origin(), "https": Origin(certificates.server())}
        self.environment = clients.environment(folder, certificates.ca)
        self.places = clients.places(ROOT) | {"trust": str(clients.java_trust(folder, certificates.ca))}
        stage(Path(self.places["snippets"]))

    def url(self, client, case, scheme):
        if case is HOST:
            return f"{scheme}://nosuch.invalid/"
        port = client.denied_port if case is PORT else self.origins[scheme].port
        return f"{scheme}://{NAME}:{port}/"

    def run_client(self, client):
        """Every case over both schemes, and the client's own name for its version."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        gateway = Gateway(self.outgate, folder, self.resolver.address, [origin.port for origin in self.origins.values()])
        try:
            seen = [self.run_case(client, gateway, case, scheme) for case in CASES for scheme in ("http", "https")]
        finally:
            gateway.stop()
        if any(one.problems for one in seen):
            print(f"--- the gateway's log during {client.name}\n{gateway.log()}---", file=sys.stderr)
        return self.version(client), seen

    def run_case(self, client, gateway, case, scheme):
        url = self.url(client, case, scheme)
        argv = client.argv(self.places, gateway.proxy(case), url)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=HANG, env=self.environment,
                                  stdin=subprocess.DEVNULL)
            code, raw = done.returncode, done.stdout + "\n" + done.stderr
            output = significant(done.stdout) + significant(done.stderr, client.keep_lines)
        except subprocess.TimeoutExpired:
            code, raw, output = -1, "", ["(nothing for %d s)" % HANG]
        seen = Seen(case, scheme, code, self.plain("\n".join(output), client, gateway), [])
        seen.problems = list(problems(client, seen))
        mark = "FAIL" if seen.problems else "ok"
        print(f"  {mark:4} {client.name}: {case.name}, {scheme}", flush=True)
        for problem in seen.problems:
            print(f"       {problem}\n       exit status {code}; it showed:\n{raw}", file=sys.stderr, flush=True)
        return seen

    def plain(self, output, client, gateway):
        """What changes from run to run gets a name."""
        for real, name in (
            (gateway.address, "127.0.0.1:8080"),
            (gateway.ready["secret"], "SECRET"),
            (gateway.ready["key_id"], "KEY"),
            (self.places["snippets"] + "/", ""),
            *((f"{NAME}:{origin.port}", NAME) for origin in self.origins.values()),
            *((f"port={origin.port}", "port=PORT") for origin in self.origins.values()),
            *((str(origin.port), "PORT") for origin in self.origins.values()),
        ):
            output = output.replace(real, name)
        for exit_id in re.findall(r"(?i)x-outgate-exit: (\S+)", output):
            output = output if exit_id == "direct" else output.replace(exit_id, "EXIT")
        for pattern, name in (
            (r"(?i)(x-outgate-request-id: )\S+", r"\1REQUEST-ID"),
            (r"\boutgate-[a-z0-9]{6}\b", "GATEWAY"),
            (r"(?i)\n?(?:< )?date: [^\n]*", ""),
            (r"0x[0-9a-f]{6,}", "0x…"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE TIME"),
        ):
            output = re.sub(pattern, name, output)
        return output.strip()

    def version(self, client):
        argv = [part.format(**self.places) for part in client.version]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.environment)
        return (done.stdout.strip() or "unknown").splitlines()[0].split(" (")[0].rstrip(".")


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
    elif seen.case.slug is None:
        if seen.code != 0 or text not in seen.output:
            yield "the origin's answer did not arrive"
    else:
        if text in seen.output:
            yield "the origin's answer arrived in spite of the fault"
        if seen.code == 0 and (seen.scheme == "https" or client.fails_on_status):
            yield "exit status 0 in spite of the fault"
        promised = client.http if seen.scheme == "http" else client.https
        if seen.case is WRONG and client.wrong_password:
            promised = client.wrong_password
        if promised is Shows.SLUG and seen.case.slug not in seen.output:
            yield f"no {seen.case.slug} in what it shows"
        if promised is Shows.STATUS and str(seen.case.status) not in seen.output:
            yield f"no {seen.case.status} in what it shows"
        if promised is Shows.BODY and not seen.output:
            yield "nothing shown"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outgate", default=ROOT / "target/debug/outgate", type=Path)
    parser.add_argument("--only", action="append", default=[], help="clients whose name contains this")
    parser.add_argument("--write-docs", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_docs and arguments.only:
        parser.error("--write-docs needs every client")
    wanted = [client for client in clients.CLIENTS if not arguments.only or any(part in client.name for part in arguments.only)]
    if not wanted:
        parser.error("no such client")

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="outgate-clients-") as folder:
        matrix = Matrix(arguments.outgate, Path(folder))
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            results = list(zip(wanted, pool.map(matrix.run_client, wanted)))
    failed = sum(bool(one.problems) for _, (_, seen) in results for one in seen)
    total = sum(len(seen) for _, (_, seen) in results)
    print(f"{total - failed} of {total} as expected, {len(wanted)} clients, {time.monotonic() - started:.0f} s")
    if arguments.write_docs and not failed:
        page = ROOT / "docs/clients.md"
        page.write_text(document.page(results, Path(__file__).parent))
        print(f"wrote {page.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
