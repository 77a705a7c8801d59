"""Writes the data that the package carries: providers.json from the providers' TOML files, and catalogue.json.

    python3 python/generate.py [--outgate PATH]

The first needs Python 3.11, because older ones read no TOML. The second is what `outgate explain --json` says; it is written
only if the program is given.
"""

import argparse
import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python/src/outgate"
CRATE = ROOT / "crates/client"


def providers():
    """Every provider's table, in the order in which they are asked who shows himself in an answer."""
    # The order is a decision of the crate's, and stands there alone.
    files = re.findall(r'^ {4}"([a-z-]+\.toml)",$', (CRATE / "src/providers/builtin.rs").read_text(), re.MULTILINE)
    return [tomllib.loads((CRATE / "providers" / file).read_text(encoding="utf-8")) for file in files]


def main():
    """Writes both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outgate", help="the program whose catalogue is taken")
    given = parser.parse_args()
    (PACKAGE / "providers.json").write_text(json.dumps(providers(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if given.outgate:
        said = subprocess.run([given.outgate, "explain", "--json"], check=True, capture_output=True, text=True).stdout
        (PACKAGE / "catalogue.json").write_text(said, encoding="utf-8")


if __name__ == "__main__":
    main()
