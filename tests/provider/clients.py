"""The clients that are compared: how each of them is started, and with which proxies."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from dialects import user_name

PROGRAMS = Path(__file__).resolve().parent / "programs"
SECRET = "s3cret"


@dataclass(frozen=True)
class Client:
    """One client."""

    name: str
    what: str
    start: Callable

    def run(self, jobs, ports, mix, folder, authority, args):
        """Does every job; the numbers of those that got the page."""
        return self.start(jobs, ports, mix, folder, authority, args)


def accounts(ports, mix, sessions=(None,)):
    """The URLs of the provider's two accounts, with every session."""
    users = [(f"user{account}", port) for account, port in enumerate(ports)]
    return [
        f"http://{user_name(mix.dialect, user, session)}:{SECRET}@127.0.0.1:{port}" for session in sessions for user, port in users
    ]


def program(name, task):
    """Runs one of the programs and gives the numbers of the jobs that it did."""
    run = subprocess.run([sys.executable, str(PROGRAMS / name)], input=json.dumps(task), capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{name} failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout)["done"]


def with_requests(habit):
    def start(jobs, ports, mix, folder, authority, args):
        task = {"jobs": jobs, "proxies": accounts(ports, mix), "ca": str(authority), "habit": habit, "workers": args.workers}
        return program("with_requests.py", task)

    return start


def with_outgate(jobs, ports, mix, folder, authority, args):
    """The Python package: the accounts as they are, sessions are its own affair."""
    how = {"session": "user-session-{}"} if mix.dialect == "bare" else {"provider": mix.dialect}
    task = {"jobs": jobs, "proxies": accounts(ports, mix), "ca": str(authority), "habit": "outgate", "workers": args.workers}
    return program("with_requests.py", task | {"upstream": how})


def with_scrapy(jobs, ports, mix, folder, authority, args):
    # Rotation needs something to rotate: ten sessions of each account, as its users write them into the list.
    sessions = [f"s{number}" for number in range(10)]
    task = {"jobs": jobs, "proxies": accounts(ports, mix, sessions), "workers": args.workers}
    return program("with_scrapy.py", task)


RELAY = """
data = "{data}"
targets.ca = "{ca}"
intercept.hosts = ["*"]
retry.deadline = "28s"

[[listen]]
address = "127.0.0.1:0"
{upstreams}
"""
UPSTREAM = """
[[upstream]]
url = "{url}"
{provider}
name = "account-{number}"
"""


def with_relay(jobs, ports, mix, folder, authority, args):
    """requests as in `never`, with a relay in front that opens TLS, so that a target's refusals are handled there too."""
    data = folder / f"relay-{mix.name}-{ports[0]}"
    data.mkdir()
    urls = enumerate(accounts(ports, mix))
    upstreams = "".join(UPSTREAM.format(url=url, provider=dialect(mix), number=number) for number, url in urls)
    config = data / "relay.toml"
    config.write_text(RELAY.format(data=data, ca=authority, upstreams=upstreams))
    log = open(data / "relay.log", "w")
    relay = subprocess.Popen([args.outgate, "relay", "--config", str(config)], stdout=log, stderr=log)
    try:
        url = listening(relay, data / "relay.log")
        task = {"jobs": jobs, "proxies": [url], "ca": str(data / "relay-ca.pem"), "habit": "once", "workers": args.workers}
        return program("with_requests.py", task)
    finally:
        relay.send_signal(signal.SIGINT)
        relay.wait(40)
        log.close()


def dialect(mix):
    """The upstream's settings that say how it speaks; of nobody in particular only how it takes a session's name."""
    return 'session = "user-session-{}"' if mix.dialect == "bare" else f'provider = "{mix.dialect}"'


def listening(relay, log):
    """Where the relay listens, once it says so."""
    while relay.poll() is None:
        words = log.read_text().split()
        for word in words:
            if word.startswith("http://127.0.0.1:"):
                url = word.rstrip(";,")
                try:
                    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/status.json", timeout=2).read()
                    return url
                except OSError:
                    break
        os.sched_yield()
    raise SystemExit(f"the relay ended:\n{log.read_text()[-2000:]}")


CLIENTS = [
    Client("never", "requests, one attempt for each request", with_requests("once")),
    Client("snippet", "document 000's snippet over requests", with_requests("snippet")),
    Client("urllib3", "requests with urllib3's Retry(total=3, backoff_factor=1) for 429 and 5xx", with_requests("urllib3")),
    Client("outgate relay", "requests as in `never`, behind `outgate relay` with TLS opened", with_relay),
    Client("outgate python", "the Python package `outgate`: one `Session` over both accounts", with_outgate),
    Client("scrapy", "Scrapy with its retries and scrapy-rotating-proxies over ten sessions of each account", with_scrapy),
]
