"""The real clients: how each is run, and what it is certain to show.

To add one: 1. write its snippet beside this file (or a bare command); 2. add a Client to CLIENTS; 3. if it needs
installing, do that in ./test; 4. run `run.py --write-docs` and read what it really shows.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Shows(Enum):
    """What of a fault is certain to reach this client's user."""

    SLUG = "the slug"
    STATUS = "the status"
    BODY = "the sentence"
    NOTHING = "that it failed"


@dataclass(frozen=True)
class Client:
    name: str
    # `{proxy}`, `{url}` and the keys of Places stand for the real values.
    command: tuple
    # What is certain over http (the proxy's answer comes as if it were the target's) and over https (a failed CONNECT).
    http: Shows
    https: Shows
    # The same after a wrong password, where that differs.
    wrong_password: "Shows | None" = None
    snippet: "str | None" = None
    language: str = "sh"
    version: tuple = ()
    # fetch (in Node and in browsers) never asks for port 25 at all, so it is sent to another port that is denied too.
    denied_port: int = 25
    # The exit status is 0 for any answer over http, as of most clients; wget's and axios' is not.
    fails_on_status: bool = False
    # Shown in the docs as what a person types, when that is not `command`.
    typed: "str | None" = None
    note: str = ""
    # Of stderr, only the lines that start with one of these.
    keep_lines: tuple = ()

    def argv(self, places, proxy, url):
        return [part.format(proxy=proxy, url=url, **places) for part in self.command]


def places(root: Path) -> dict:
    """Where the programs are: clients installed by ./test live under target/."""
    return {
        "python": str(root / "target/clients-venv/bin/python"),
        "node": shutil.which("node") or "node",
        "java": shutil.which("java") or "java",
        "chromium": shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or "chromium",
        "snippets": str(root / "target/clients-node"),
    }


def environment(folder: Path, ca: Path) -> dict:
    """Settings of the machine that would change a client's mind are taken away; the throw-away CA is trusted."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    wgetrc = folder / "wgetrc"
    wgetrc.write_text(f"ca_certificate = {ca}\ntries = 1\n")
    return kept | {
        "CURL_CA_BUNDLE": str(ca),
        "REQUESTS_CA_BUNDLE": str(ca),
        "SSL_CERT_FILE": str(ca),
        "NODE_EXTRA_CA_CERTS": str(ca),
        "WGETRC": str(wgetrc),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }


def java_trust(folder: Path, ca: Path) -> Path:
    """Java reads no PEM file: the CA as a key store."""
    store = folder / "trust.p12"
    subprocess.run(
        ["keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", ca, "-keystore", store,
         "-storetype", "PKCS12", "-storepass", "changeit"],
        check=True, capture_output=True,
    )
    return store


CLIENTS = [
    Client(
        "curl", ("curl", "-sS", "-x", "{proxy}", "{url}"), Shows.BODY, Shows.STATUS, version=("curl", "--version"),
        typed="curl -sS -x {proxy} {url}",
        note="The body of a failed CONNECT is never shown. Add `-v` for the reason and the headers.",
    ),
    Client(
        "curl -v", ("curl", "-sS", "-v", "-x", "{proxy}", "{url}"), Shows.SLUG, Shows.SLUG, version=("curl", "--version"),
        typed="curl -v -x {proxy} {url}", keep_lines=("< ", "curl: "),
        note="Only the lines of the proxy's answer (`<`) and the last error are shown here.",
    ),
    Client(
        "wget", ("wget", "-nv", "-O", "-", "-e", "use_proxy=yes", "-e", "http_proxy={proxy}", "-e", "https_proxy={proxy}", "{url}"),
        Shows.SLUG, Shows.SLUG, version=("wget", "--version"), fails_on_status=True,
        typed="wget -nv -O - -e use_proxy=yes -e http_proxy={proxy} -e https_proxy={proxy} {url}",
        note="Shows the reason phrase and nothing else: there the slug is.",
    ),
    Client(
        "Python requests", ("{python}", "{snippets}/py_requests.py", "{proxy}", "{url}"), Shows.SLUG, Shows.SLUG,
        snippet="py_requests.py", language="python", version=("{python}", "-c", "import requests; print('requests', requests.__version__)"),
        note="Over https: `requests.exceptions.ProxyError`, status and reason in its text.",
    ),
    Client(
        "Python httpx", ("{python}", "{snippets}/py_httpx.py", "{proxy}", "{url}"), Shows.SLUG, Shows.SLUG,
        snippet="py_httpx.py", language="python", version=("{python}", "-c", "import httpx; print('httpx', httpx.__version__)"),
        note="Over https: `httpx.ProxyError`, status and reason are its text.",
    ),
    Client(
        "Python aiohttp", ("{python}", "{snippets}/py_aiohttp.py", "{proxy}", "{url}"), Shows.SLUG, Shows.SLUG,
        snippet="py_aiohttp.py", language="python", version=("{python}", "-c", "import aiohttp; print('aiohttp', aiohttp.__version__)"),
        note="Over https: `aiohttp.ClientHttpProxyError` with `status`, `message` and `headers`. "
        "Its text holds the proxy's whole URL: the password ends up in the log of whoever logs it.",
    ),
    Client(
        "Node fetch (undici)", ("{node}", "{snippets}/fetch.mjs", "{proxy}", "{url}"), Shows.STATUS, Shows.STATUS,
        snippet="fetch.mjs", language="js", version=("{node}", "-p", "'undici ' + require('{snippets}/node_modules/undici/package.json').version + ', Node ' + process.version"),
        denied_port=2525,
        note="Tunnels http targets too, so both columns are a failed CONNECT. Only the status is left, in the error's `cause`. "
        "Needs a non-empty user and password. Ports such as 25 are refused by fetch itself; 2525 is asked for instead.",
    ),
    Client(
        "axios (its own proxy setting)", ("{node}", "{snippets}/axios.mjs", "{proxy}", "{url}"), Shows.SLUG, Shows.SLUG,
        snippet="axios.mjs", language="js", version=("{node}", "-p", "'axios ' + require('{snippets}/node_modules/axios/package.json').version"),
        fails_on_status=True,
        note="Versions before mid-2026 send `GET https://…` in clear instead of CONNECT: the answer to that is `https_needs_connect`.",
    ),
    Client(
        "axios (https-proxy-agent)", ("{node}", "{snippets}/axios_agent.mjs", "{proxy}", "{url}"), Shows.SLUG, Shows.SLUG,
        snippet="axios_agent.mjs", language="js",
        version=("{node}", "-p", "'https-proxy-agent ' + require('{snippets}/node_modules/https-proxy-agent/package.json').version"),
        fails_on_status=True,
        note="Tunnels http targets too. The answer to a failed CONNECT comes as if it were the target's: look at `X-Proxy-Error`.",
    ),
    Client(
        "Java HttpClient",
        ("{java}", "-Djdk.http.auth.tunneling.disabledSchemes=", "-Djavax.net.ssl.trustStore={trust}",
         "-Djavax.net.ssl.trustStorePassword=changeit", "{snippets}/Client.java", "{proxy}", "{url}"),
        Shows.SLUG, Shows.STATUS, wrong_password=Shows.NOTHING, snippet="Client.java", language="java", version=("{java}", "--version"),
        typed="java -Djdk.http.auth.tunneling.disabledSchemes= Client.java {proxy} {url}",
        note="Without `-Djdk.http.auth.tunneling.disabledSchemes=` Java does not send Basic credentials for a tunnel, and every https "
        "request ends in 407. It sends credentials only after a first 407.",
    ),
    Client(
        "Chromium (Playwright)", ("{node}", "{snippets}/browser.mjs", "{proxy}", "{url}", "{chromium}"), Shows.SLUG, Shows.NOTHING,
        wrong_password=Shows.NOTHING, snippet="browser.mjs", language="js", version=("{chromium}", "--version"), denied_port=2525,
        note="A page never learns why a CONNECT failed: look the request up on the gateway. Ports such as 25 are refused by the browser "
        "itself; 2525 is asked for instead.",
    ),
]
