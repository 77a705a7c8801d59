"""The records of a real gateway, opened with DuckDB: the queries of docs/records.md, as they stand there.

    run.py --outgate PATH
"""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import duckdb

HANG = 30
DOCS = pathlib.Path(__file__).parent.parent.parent / "docs" / "records.md"


class Gateway:
    """`outgate quickstart` in a folder that may have been used before."""

    def __init__(self, outgate, data):
        self.outgate, self.data = outgate, data
        command = [outgate, "quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--json", "--data", data]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self.process.stdout.readline())

    def ask(self, url):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": self.ready["proxy_url"]}))
        try:
            opener.open(url, timeout=HANG).read()
        except urllib.error.HTTPError as refused:
            refused.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=HANG)


def wait_for(what, look):
    until = time.monotonic() + HANG
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"waited {HANG} s for {what}")


def make_records(outgate, data):
    """Some that are sealed, some that are live."""
    folder = data / "records"
    gateway = Gateway(outgate, data)
    for _ in range(3):
        gateway.ask("http://echo.outgate/")
    gateway.ask("http://echo.outgate:25/")
    gateway.stop()
    # As if its hour had been over when the gateway was stopped.
    before = time.time() - 2 * 3600
    os.utime(folder / "access.jsonl", (before, before))
    gateway = Gateway(outgate, data)
    gateway.ask("http://echo.outgate/")
    gateway.ask("http://192.168.0.1/")
    gateway.stop()
    gateway = Gateway(outgate, data)
    wait_for("a sealed file", lambda: list(folder.glob("access-*.jsonl.zst")))
    gateway.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--outgate", required=True, type=pathlib.Path)
    outgate = parser.parse_args().outgate.resolve()
    queries = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(queries) == 2, f"{DOCS} has {len(queries)} queries"
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "outgate-data"
        data.mkdir()
        make_records(outgate, data)
        os.chdir(folder)
        by_outcome, by_host = (duckdb.sql(query).fetchall() for query in queries)
        command = [outgate, "logs", "--data", data, "--since", "1d", "--by", "outcome", "--json"]
        counted = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    expected = {group["group"]: group["requests"] for group in counted["groups"]}
    assert expected == {"ok": 4, "port_denied": 1, "target_private": 1}, expected
    assert {row[0]: row[1] for row in by_outcome} == expected, by_outcome
    assert [(row[0], row[1], row[2]) for row in by_host] == [("echo.outgate", 5, 1), ("192.168.0.1", 1, 1)], by_host
    assert by_host[0][3] > 0, by_host
    print(f"DuckDB {duckdb.__version__} reads {sum(expected.values())} records, live and sealed, as outgate logs does")


if __name__ == "__main__":
    main()
