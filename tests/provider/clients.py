"""The clients that are compared: how each of them is started, and with which proxies."""

import json
import subprocess
import sys
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


def with_scrapy(jobs, ports, mix, folder, authority, args):
    # Rotation needs something to rotate: ten sessions of each account, as its users write them into the list.
    sessions = [f"s{number}" for number in range(10)]
    task = {"jobs": jobs, "proxies": accounts(ports, mix, sessions), "workers": args.workers}
    return program("with_scrapy.py", task)


CLIENTS = [
    Client("never", "requests, one attempt for each request", with_requests("once")),
    Client("snippet", "document 000's snippet over requests", with_requests("snippet")),
    Client("urllib3", "requests with urllib3's Retry(total=3, backoff_factor=1) for 429 and 5xx", with_requests("urllib3")),
    Client("scrapy", "Scrapy with its retries and scrapy-rotating-proxies over ten sessions of each account", with_scrapy),
]
