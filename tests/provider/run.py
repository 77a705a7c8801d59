#!/usr/bin/env python3
"""Sends the same requests through a simulated provider with several clients, side by side, and says how each of them did.

  run.py --quick                    one mix, 1,000 requests: a try
  run.py                            every mix and seed, 10,000 requests each
  run.py --mix storm --client relay
  run.py --write-docs               and writes docs/retries.md

A client's run ends when every request has its answer. What was feasible, wasted and done twice is the provider's judgement,
which is the same for all (world.py).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clients import CLIENTS
from mixes import ALL
from report import document, line, total

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mix", action="append", choices=ALL)
    parser.add_argument("--client", action="append", choices=[client.name for client in CLIENTS])
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--outgate", default=str(ROOT / "target/release/outgate"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail unless Outgate's clients reach the aims")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.requests = min(args.requests, 1000)
    mixes = args.mix or (["morning"] if args.quick else list(ALL))
    seeds = args.seed or ([1] if args.quick else [1, 2])
    clients = [client for client in CLIENTS if not args.client or client.name in args.client]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        certificate, authority = certificates(folder)
        for mix in mixes:
            for seed in seeds:
                for client in clients:
                    row = run(client, mix, seed, args, folder, certificate, authority)
                    rows.append(row)
                    print(line(row), flush=True)
    print()
    for client in clients:
        print(line(total(client.name, rows)), flush=True)
    if args.write_docs:
        (ROOT / "docs/retries.md").write_text(document(rows, args.requests, args.workers))
    if args.check:
        sys.exit(check(rows))


def run(client, mix, seed, args, folder, certificate, authority):
    """One client's run at one provider."""
    serve = [sys.executable, str(HERE / "provider.py"), "--mix", mix, "--seed", str(seed)]
    serve += ["--requests", str(args.requests), "--certificate", str(certificate)]
    provider = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ready = json.loads(provider.stdout.readline())
        started = time.monotonic()
        done = client.run(ready["jobs"], ready["ports"], ALL[mix], folder, authority, args)
        seconds = time.monotonic() - started
        judged = json.loads(provider.communicate("")[0])
    finally:
        provider.kill()
    unknowable = set(judged["ambiguous"])
    feasible = {n for n, well in enumerate(ready["feasible"]) if well} - unknowable
    return {
        "client": client.name,
        "mix": mix,
        "tuned": ALL[mix].tuned,
        "seed": seed,
        "feasible": len(feasible),
        "done": len(feasible & set(done)),
        "attempts": judged["attempts"],
        "wasted": sum(judged["wasted"].values()),
        "why": judged["wasted"],
        "duplicates": judged["duplicates"],
        "seconds": seconds,
    }


def check(rows):
    """Whether Outgate's clients reach what they aim at, run by run."""
    failed = 0
    for row in rows:
        if not row["client"].startswith("outgate"):
            continue
        never = next((r for r in rows if (r["mix"], r["seed"], r["client"]) == (row["mix"], row["seed"], "never")), None)
        aims = {
            "at least 98 % of what was feasible": row["done"] >= 0.98 * row["feasible"],
            "no POST done twice": row["duplicates"] == 0,
            "fewer wasted attempts than never trying again": never is None or row["wasted"] < never["wasted"],
        }
        for aim, reached in aims.items():
            if not reached:
                failed += 1
                print(f"FAIL: {row['client']}, {row['mix']}, seed {row['seed']}: not {aim}")
    return 1 if failed else 0


def certificates(folder):
    """A certificate for the targets, with its key in the same file, and the authority that signed it."""
    authority, key = folder / "ca.pem", folder / "ca.key"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=provider test", "-keyout", key, "-out",
            authority)
    names = ",".join(f"DNS:d{number}.test" for number in range(40))
    request, own_key, signed = folder / "own.csr", folder / "own.key", folder / "own.crt"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=d0.test", "-keyout", own_key, "-out", request)
    extensions = folder / "own.ext"
    extensions.write_text(f"subjectAltName={names}\n")
    openssl("x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-CAcreateserial", "-days", "2", "-out", signed,
            "-extfile", extensions)
    together = folder / "own.pem"
    together.write_text(signed.read_text() + own_key.read_text())
    return together, authority


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


if __name__ == "__main__":
    main()
