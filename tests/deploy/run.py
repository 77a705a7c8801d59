#!/usr/bin/env python3
"""Holds deploy/prometheus and deploy/grafana against a real gateway, scraped by a real Prometheus. Loopback only, no network.

    run.py [--outgate PATH] [--prometheus FOLDER]

The rules are checked and tested by promtool, the page of metrics is linted by it. Then requests of every kind go through a
gateway, and every expression of the dashboard must give a number, every rule must evaluate.
"""

import argparse
import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/outgate.json"
# Ends a wait for what never comes.
HANG = 60
# What the dashboard's own variables stand for here: everything, and a few scrapes.
VARIABLES = {"$__rate_interval": "10s", "$instance": ".*", "$pool": ".*"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--outgate", default=ROOT / "target/debug/outgate", type=Path)
    parser.add_argument("--prometheus", default="", help="where prometheus and promtool are, if not on the path")
    options = parser.parse_args()
    tool = lambda name: str((Path(options.prometheus) / name).resolve()) if options.prometheus else name
    promtool(tool("promtool"), "check", "rules", "outgate.rules.yml")
    promtool(tool("promtool"), "check", "config", "prometheus.yml")
    promtool(tool("promtool"), "test", "rules", "outgate.rules.test.yml", "outgate.rules.week.test.yml")
    with tempfile.TemporaryDirectory(prefix="outgate-deploy-") as folder:
        gateway = Gateway(options.outgate.resolve(), Path(folder))
        prometheus = None
        try:
            gateway.start()
            gateway.traffic()
            page = fetch(f"{gateway.console}/metrics")
            lint = subprocess.run([tool("promtool"), "check", "metrics"], input=page, capture_output=True, text=True)
            assert lint.returncode == 0 and not lint.stderr, lint.stderr
            prometheus = Prometheus(tool("prometheus"), Path(folder), gateway.console)
            going = threading.Event()
            worker = threading.Thread(target=gateway.keep_going, args=(going,))
            worker.start()
            try:
                shown = dashboard(prometheus)
                evaluated = rules(prometheus)
            finally:
                going.set()
                worker.join()
        finally:
            if prometheus:
                prometheus.stop()
            gateway.stop()
    print(f"{shown} expressions of the dashboard give numbers, {evaluated} rules evaluate")
    return 0


def promtool(*command):
    run = subprocess.run(command, cwd=RULES, capture_output=True, text=True)
    assert run.returncode == 0, f"{' '.join(command[1:])}\n{run.stdout}{run.stderr}"


def fetch(url):
    with urllib.request.urlopen(url, timeout=HANG) as answer:
        return answer.read().decode()


def until(what, look):
    deadline = time.monotonic() + HANG
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.05)


def dashboard(prometheus):
    """Every expression gives at least one number, every variable has values."""
    board = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in board["panels"]]
    assert panels and len(set(ids)) == len(ids), "panels have ids of their own"
    shown = 0
    for panel in panels:
        assert panel["description"], f"{panel['title']} says what it shows"
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, expression
            until(f"a number of {panel['title']}: {expression}", lambda: numbers(prometheus.ask("query", query=expression)))
            shown += 1
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
            values = json.loads(fetch(f"{prometheus.url}/api/v1/label/{label}/values?match[]={metric}"))["data"]
            assert values, variable["definition"]
    return shown


def numbers(answer):
    return [value for series in answer["result"] if (value := float(series["value"][1])) == value]


def rules(prometheus):
    def evaluated():
        groups = prometheus.ask("rules")["groups"]
        all_of = [rule for group in groups for rule in group["rules"]]
        bad = [rule for rule in all_of if rule["health"] == "err"]
        assert not bad, bad
        return all_of if all_of and all(rule["health"] == "ok" for rule in all_of) else None

    return len(until("an evaluation of all rules", evaluated))


class Prometheus:
    def __init__(self, binary, folder, console):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = (RULES / "prometheus.yml").read_text()
        config = config.replace("15s", "1s").replace("127.0.0.1:8081", console.removeprefix("http://"))
        config = config.replace("- outgate.rules.yml", f"- {RULES / 'outgate.rules.yml'}")
        (folder / "prometheus.yml").write_text(config)
        command = [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("Prometheus", self.is_ready)

    def is_ready(self):
        try:
            return fetch(f"{self.url}/-/ready")
        except OSError:
            assert self.process.poll() is None, "Prometheus ended"
            return None

    def ask(self, path, **query):
        answer = json.loads(fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Gateway:
    """A gateway with a plain door and one with TLS, a resolver of its own, an exit with a cap."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.processes = binary, folder, []
        self.resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.resolver.bind(("127.0.0.1", 0))
        threading.Thread(target=self.resolve, daemon=True).start()
        self.target = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def resolve(self):
        """Answers every question for an IPv4 address with this machine's, for a moment."""
        while True:
            question, asker = self.resolver.recvfrom(4096)
            end = question.index(b"\0", 12) + 5
            is_a = question[end - 4 : end - 2] == b"\0\1"
            head = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if is_a else b""
            self.resolver.sendto(head + question[12:end] + answer, asker)

    def serve(self):
        while True:
            wire, _ = self.target.accept()
            threading.Thread(target=answer, args=(wire,), daemon=True).start()

    def start(self):
        certificate, key = self.folder / "cert.pem", self.folder / "key.pem"
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost".split()
        subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.data, file = self.folder / "data", self.folder / "outgate.toml"
        plain, tls, exits, console = (free_port() for _ in range(4))
        port = self.target.getsockname()[1]
        file.write_text(
            f'data = "{self.data}"\nconsole.address = "127.0.0.1:{console}"\nexits.address = "127.0.0.1:{exits}"\n'
            f'policy.ports = ["80", "{port}"]\npolicy.allow_targets = ["127.0.0.0/8"]\n'
            f'dns.servers = ["127.0.0.1:{self.resolver.getsockname()[1]}"]\n'
            f'[[listen]]\naddress = "127.0.0.1:{plain}"\n'
            f'[[listen]]\naddress = "127.0.0.1:{tls}"\ncertificate = "{certificate}"\nkey = "{key}"\n'
        )
        self.plain, self.tls, self.port, self.console = plain, tls, port, f"http://127.0.0.1:{console}"
        self.run("gateway", "--config", file)
        until("the gateway", lambda: (self.data / "console.json").exists())
        self.admin("plans", "create", "all")
        key = self.admin("keys", "create", "--plan", "all")
        self.login = base64.b64encode(f"{key['id']}:{key['secret']}".encode()).decode()
        self.login_through_exit = base64.b64encode(f"{key['id']}-pool-residential:{key['secret']}".encode()).decode()
        exit_ = self.admin("exits", "enroll", "--pool", "residential", "--country", "us", "--max-tunnels", "100")
        self.run("exit", "--gateway", f"ws://127.0.0.1:{exits}", "--token", exit_["token"], "--allow-target", "127.0.0.0/8")
        until("the exit", lambda: any(exit["online"] for exit in self.admin("exits", "list")))

    def run(self, *arguments):
        log = open(self.folder / f"{arguments[0]}.log", "w")
        self.processes.append(subprocess.Popen([self.binary, *arguments], stdout=log, stderr=log))

    def admin(self, *arguments):
        run = subprocess.run([self.binary, *arguments, "--json", "--data", self.data], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout) if run.stdout.strip() else None

    def ask(self, port, request, login, secure=None):
        wire = socket.create_connection(("127.0.0.1", port), timeout=HANG)
        if secure:
            wire = secure.wrap_socket(wire)
        with wire:
            credentials = f"Proxy-Authorization: Basic {login}\r\n" if login else ""
            wire.sendall(f"{request}{credentials}Connection: close\r\n\r\n".encode())
            status = wire.recv(65536).split(b" ")[1]
            if request.startswith("CONNECT") and status == b"200":
                wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                wire.recv(65536)
        return int(status)

    def traffic(self):
        """A request of every kind. The resolver's answers are for the moment, so that names are asked for again."""
        careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        get = f"GET http://site.example:{self.port}/ HTTP/1.1\r\nHost: site.example:{self.port}\r\n"
        tunnel = f"CONNECT site.example:{self.port} HTTP/1.1\r\nHost: site.example:{self.port}\r\n"
        assert self.ask(self.plain, get, self.login) == 200
        assert self.ask(self.tls, tunnel, self.login, careless) == 200
        # An exit asks a resolver of its own.
        through_exit = f"CONNECT 127.0.0.1:{self.port} HTTP/1.1\r\nHost: x\r\n"
        assert self.ask(self.plain, through_exit, self.login_through_exit) == 200
        assert self.ask(self.plain, "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\n", self.login) == 502
        assert self.ask(self.plain, "CONNECT site.example:25 HTTP/1.1\r\nHost: x\r\n", self.login) == 403
        assert self.ask(self.plain, get, None) == 407

    def keep_going(self, stop):
        while not stop.wait(0.3):
            self.traffic()

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=HANG)
            except subprocess.TimeoutExpired:
                process.kill()


def answer(wire):
    with wire:
        wire.recv(65536)
        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")


if __name__ == "__main__":
    sys.exit(main())
