#!/usr/bin/env python3
"""Holds a running gateway's API against its own description, with Schemathesis. Loopback only, no network.

    run.py [--outgate PATH] [--seed N]

Every check Schemathesis has: no 5xx, no status, header or body that is not described, what the schema allows is taken, what it
forbids is refused, credentials are respected. A key's own API and the admin API get a gateway each: the latter may revoke
every key there is. Then the lines of docs/api.md are run.
"""

import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Ends a run that hangs; all of it takes about half a minute.
HANG = 600
TOLD = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}

# Wrong credentials are slowed down, whoever sends the right ones next to them: they come last, and alone.
GUESSES = ["--checks", "ignored_auth", "--phases", "coverage"]
OTHER = ["--checks", "all", "--exclude-checks", "ignored_auth"]
ROUNDS = {
    "a key's own API": (
        [*OTHER, "--include-tag", "own", "--include-tag", "meta", "--exclude-operation-id", "rotateOwnSecret"],
        # From here on the key's secret is another one than the one that is shown.
        [*OTHER, "--include-operation-id", "rotateOwnSecret"],
    ),
    "the admin API": ([*OTHER, "--exclude-tag", "own", "--exclude-tag", "meta"],),
    "credentials": (GUESSES,),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--outgate", default=ROOT / "target/debug/outgate", type=Path)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        rounds = {name: pool.submit(one_round, options, parts) for name, parts in ROUNDS.items()}
        rounds["docs/api.md"] = pool.submit(documented_lines, options)
    differing = []
    for name, done in rounds.items():
        fine, output = done.result()
        print(f"{name}:\n{output}")
        if not fine:
            differing.append(name)
    if differing:
        print(f"not as described: {', '.join(differing)}", file=sys.stderr)
    return 1 if differing else 0


def one_round(options, parts):
    """Whether all is as described, and what was said about it."""
    with tempfile.TemporaryDirectory(prefix="outgate-api-") as folder:
        gateway = Gateway(options.outgate.resolve(), Path(folder))
        try:
            checked = [gateway.check(which, options.seed) for which in parts]
        finally:
            complaints = gateway.stop()
    fine = not complaints and all(run.returncode == 0 for run in checked)
    return fine, "\n".join([*(run.stdout for run in checked), complaints])


def documented_lines(options):
    """Whether the document's shell lines do what they say, and what they printed."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/api.md").read_text(), re.MULTILINE | re.DOTALL)
    if not blocks:
        return False, "there are no lines"
    with tempfile.TemporaryDirectory(prefix="outgate-api-") as folder:
        gateway = Gateway(options.outgate.resolve(), Path(folder))
        ready = gateway.ready
        names = {"CONSOLE": "console_url", "TOKEN": "admin_token", "KEY": "key_id", "SECRET": "secret"}
        environment = {**os.environ, **{name: ready[field] for name, field in names.items()}}
        # As a reader's shell would take them, but it ends with the first that fails.
        script = "\n".join(["set -eu -o pipefail", *blocks])
        run = subprocess.run(["bash", "-c", script], env=environment, timeout=HANG, **TOLD)
        complaints = gateway.stop()
    return run.returncode == 0 and not complaints, f"{run.stdout}{complaints}"


class Gateway:
    def __init__(self, outgate, folder):
        self.folder = folder
        self.errors = open(folder / "stderr", "w+b")
        ports = ["--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"]
        command = [outgate, "quickstart", "--json", *ports, "--data", folder / "data"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors)
        self.ready = json.loads(self.process.stdout.readline())

    def check(self, which, seed):
        ready = self.ready
        environment = {
            **os.environ,
            "ADMIN_TOKEN": ready["admin_token"],
            "KEY_ID": ready["key_id"],
            "KEY_SECRET": ready["secret"],
            "NO_COLOR": "1",
            "SCHEMATHESIS_HOOKS": "hooks",
            "PYTHONPATH": HERE,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run"]
        command += [f"{ready['console_url']}/v1/openapi.json", "--seed", seed, *which]
        # In the folder that goes: it leaves examples behind where it runs.
        return subprocess.run(command, env=environment, cwd=self.folder, timeout=HANG, **TOLD)

    def stop(self):
        """What the gateway complained about: a panic is one, whatever it answered."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(HANG)
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").splitlines()
        return "\n".join(line for line in lines if "ERROR" in line or "panicked" in line)


if __name__ == "__main__":
    sys.exit(main())
