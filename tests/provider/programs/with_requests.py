#!/usr/bin/env python3
"""Fetches a list of jobs with requests, each as one of the habits below has it, and prints what became of them.

Reads one JSON object: jobs, proxies (URLs), ca, habit, workers, and for the habit "outgate" upstream (arguments of each of its
upstreams). Writes {"done": [...]}: the numbers of the jobs that got the page.
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

PATIENCE = 30
here = threading.local()


def once(session, job, proxies):
    """One attempt and no other."""
    return fetch(session, job, proxies)


def snippet(session, job, proxies):
    """Document 000's advice: 429, 502, 504 and proxy errors again after 1, 2 and 4 seconds."""
    for attempt in range(3):
        try:
            response = fetch(session, job, proxies)
            if response.status_code in (429, 502, 504):
                time.sleep(min(60, 2**attempt))
                continue
            return response
        except requests.exceptions.ProxyError:
            time.sleep(min(60, 2**attempt))
    raise requests.exceptions.ProxyError("max attempts")


def fetch(session, job, proxies):
    headers = {"X-Request-Number": str(job["n"])}
    if job["keyed"]:
        headers["Idempotency-Key"] = f"\"{job['n']}\""
    data = b"a" * 300 if job["method"] == "POST" else None
    url = f"{job['scheme']}://{job['host']}/page/{job['n']}"
    return session.request(job["method"], url, headers=headers, data=data, proxies=proxies, timeout=PATIENCE)


def outgates(task):
    """One session of the package `outgate` over all proxies, as its users share it between threads."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "python/src"))
    import outgate

    session = outgate.Session([outgate.Upstream(url, **task["upstream"]) for url in task["proxies"]])
    session.verify = task["ca"]
    session.trust_env = False
    return session


def session_for(habit, ca):
    if not hasattr(here, "session"):
        here.session = requests.Session()
        here.session.verify = ca
        here.session.trust_env = False
        if habit == "urllib3":
            retry = Retry(total=3, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)
            for scheme in ("http://", "https://"):
                here.session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=10))
    return here.session


def main():
    task = json.load(sys.stdin)
    habit = task["habit"]
    way = {"snippet": snippet}.get(habit, once)
    shared = outgates(task) if habit == "outgate" else None

    def work(job):
        proxy = task["proxies"][job["n"] % len(task["proxies"])]
        try:
            response = way(shared or session_for(habit, task["ca"]), job, {"http": proxy, "https": proxy})
        except requests.exceptions.RequestException:
            return None
        return job["n"] if response.status_code == 200 and response.content.startswith(b"x" * 2000) else None

    with ThreadPoolExecutor(task["workers"]) as pool:
        done = [number for number in pool.map(work, task["jobs"]) if number is not None]
    json.dump({"done": done}, sys.stdout)


if __name__ == "__main__":
    main()
