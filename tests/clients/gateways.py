"""The ways into a gateway, and throw-away gateways that have them."""

import json
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# Only ends a run that hangs: the slowest client, a browser, needs a few seconds.
HANG = 60
# How long between two looks at a file that another process writes.
LOOK_AGAIN = 0.02


@dataclass(frozen=True)
class Way:
    """One way in: how it stands in a proxy's URL, and in the gateway's records."""

    name: str
    scheme: str
    recorded: str
    # The address in the docs.
    shown: str
    # More lines of the listener's configuration; none is quickstart's own listener.
    listener: str = ""
    # The client's address is all the proof that is asked for.
    by_source: bool = False


TLS = 'certificate = "{certificate}"\nkey = "{key}"\n'
HTTP = Way("HTTP", "http", "http", "127.0.0.1:8080")
HTTPS = Way("HTTPS", "https", "https", "127.0.0.1:8443", TLS)
HTTP2 = Way("HTTPS with HTTP/2", "https", "h2", "127.0.0.1:8443", TLS)
SOCKS5 = Way("SOCKS5", "socks5h", "socks5", "127.0.0.1:8080", 'protocols = ["socks5"]\n')
SOCKS5_BY_SOURCE = Way("SOCKS5, known by its address", "socks5", "socks5", "127.0.0.1:8080", SOCKS5.listener, by_source=True)
PROXY_PROTOCOL = Way("HTTP behind a load balancer", "http", "http", "127.0.0.1:8082", 'proxy_protocol_from = ["127.0.0.1"]\n')


class Gateway:
    """A gateway in a throw-away data folder, on free ports."""

    def __init__(self, outgate, folder, resolver, arguments):
        self.outgate, self.data = outgate, folder / "data"
        self.stderr = open(folder / "gateway.log", "w+")
        self.process = subprocess.Popen(
            [outgate, *arguments], stdout=subprocess.PIPE, stderr=self.stderr, text=True,
            env=os.environ | {"OUTGATE_DNS_SERVERS": resolver},
        )
        try:
            self.become_ready()
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            self.stop()
            raise SystemExit(f"the gateway did not become ready ({error}):\n{self.log()}")

    def become_ready(self):
        raise NotImplementedError

    def records(self):
        """Every whole record so far."""
        lines = []
        # An hour may end meanwhile: its file then has another name.
        for path in sorted((self.data / "records").glob("*.jsonl")):
            text = path.read_text()
            lines += text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line) for line in lines]

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


class Quickstart(Gateway):
    """`outgate quickstart`: with an exit of its own, in the pool `residential`."""

    def __init__(self, outgate, folder, resolver, ports, _listener=""):
        opened = [word for port in ports for word in ("--allow-port", str(port))]
        super().__init__(outgate, folder, resolver, [
            "quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--data", folder / "data",
            "--allow-target", "127.0.0.0/8", *opened, "--json",
        ])

    def become_ready(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout=HANG):
                raise ValueError("no line on stdout")
        ready = json.loads(self.process.stdout.readline())
        self.address = ready["proxy_url"].rsplit("@", 1)[-1].rstrip("/")
        self.key, self.secret = ready["key_id"], ready["secret"]


class Configured(Gateway):
    """`outgate gateway` with one listener."""

    def __init__(self, outgate, folder, resolver, ports, listener, by_source):
        self.by_source = by_source
        allowed = ", ".join(f'"{port}"' for port in [80, 443, 8080, 8443, *ports])
        config = folder / "outgate.toml"
        config.write_text(
            f'data = "{folder}/data"\nconsole.address = "127.0.0.1:0"\npolicy.allow_targets = ["127.0.0.0/8"]\n'
            f'policy.ports = [{allowed}]\n[[listen]]\naddress = "127.0.0.1:0"\n{listener}'
        )
        super().__init__(outgate, folder, resolver, ["gateway", "--config", config])

    def become_ready(self):
        found, deadline = None, time.monotonic() + HANG
        while not found:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ValueError("it does not say where it listens")
            time.sleep(LOOK_AGAIN)
            found = re.search(r'listen="([^"]+)"', self.log())
        self.address = found[1]
        self.admin("plans", "create", "all")
        key = self.admin("keys", "create", *(("--by-ip", "--allow-ip", "127.0.0.1") if self.by_source else ()))
        self.key, self.secret = key["id"], key["secret"]

    def admin(self, *words):
        command = [self.outgate, *words, "--json", "--data", self.data]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def start(way, outgate, folder, resolver, ports, certificates):
    """A gateway with this way in."""
    if not way.listener:
        return Quickstart(outgate, folder, resolver, ports)
    certificate, key = certificates.proxy
    listener = way.listener.format(certificate=certificate, key=key)
    return Configured(outgate, folder, resolver, ports, listener, way.by_source)


def proxy_url(way, gateway, user_suffix, secret):
    """The proxy's URL; without credentials where the address is proof."""
    if way.by_source:
        return f"{way.scheme}://{gateway.address}"
    return f"{way.scheme}://{gateway.key}{user_suffix}:{secret}@{gateway.address}"
