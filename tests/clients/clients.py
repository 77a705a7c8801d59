"""The real clients: by which ways each is run, and what it is certain to show.

To add one: 1. write its snippet beside this file (or a bare command); 2. add a Client to CLIENTS, with a Route for each way
in; 3. if it needs installing, do that in ./test; 4. run `run.py --write-docs` and read what it really shows.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gateways import HTTP, HTTP2, HTTPS, PROXY_PROTOCOL, SOCKS5, SOCKS5_BY_SOURCE, Way

HERE = Path(__file__).resolve().parent


class Shows(Enum):
    """What of a fault is certain to reach this client's user."""

    SLUG = "the slug"
    STATUS = "the status"
    BODY = "the sentence"
    SOCKS = "the SOCKS5 reply"
    NOTHING = "that it failed"


@dataclass(frozen=True)
class Route:
    """A client by one way in."""

    way: Way
    # `{proxy}`, `{url}` and the keys of places() stand for the real values.
    command: tuple
    # What is certain over https (a failed CONNECT) and over http (the proxy's answer comes as if it were the target's);
    # None is not run.
    https: "Shows | None"
    http: "Shows | None" = None
    # The same after a wrong password, where that differs.
    wrong_password: "Shows | None" = None
    # Shown in the docs as what a person types, when that is not `command`.
    typed: "str | None" = None

    @property
    def snippet(self):
        """The file that the command runs, if it is one of ours."""
        return next((part.removeprefix("{snippets}/") for part in self.command if part.startswith("{snippets}/")), None)

    def argv(self, places, proxy, url):
        return [part.format(proxy=proxy, url=url, **places) for part in self.command]


@dataclass(frozen=True)
class Client:
    name: str
    routes: tuple
    version: tuple
    language: str = "sh"
    # fetch (in Node and in browsers) never asks for port 25 at all, so it is sent to another port that is denied too.
    denied_port: int = 25
    # The exit status is 0 for any answer over http, as of most clients; wget's and axios' is not.
    fails_on_status: bool = False
    note: str = ""
    # Of stderr, only the lines that start with one of these.
    keep_lines: tuple = ()


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


def python(snippet):
    return ("{python}", "{snippets}/" + snippet, "{proxy}", "{url}")


def node(snippet, *more):
    return ("{node}", "{snippets}/" + snippet, "{proxy}", "{url}", *more)


def java(snippet):
    return (
        "{java}", "-Djdk.http.auth.tunneling.disabledSchemes=", "-Djavax.net.ssl.trustStore={trust}",
        "-Djavax.net.ssl.trustStorePassword=changeit", "{snippets}/" + snippet, "{proxy}", "{url}",
    )


def node_package(name):
    return ("{node}", "-p", "'%s ' + require('{snippets}/node_modules/%s/package.json').version" % (name, name))


def python_package(name):
    return ("{python}", "-c", "import %s; print('%s', %s.__version__)" % (name, name, name))


CURL = ("curl", "-sS", "-x", "{proxy}", "{url}")

CLIENTS = [
    Client(
        "curl",
        (
            Route(HTTP, CURL, Shows.STATUS, Shows.BODY),
            Route(HTTPS, ("curl", "-sS", "--proxy-cacert", "{ca}", *CURL[2:]), Shows.STATUS,
                  typed="curl -sS --proxy-cacert ca.pem -x {proxy} {url}"),
            Route(SOCKS5, CURL, Shows.SOCKS),
        ),
        version=("curl", "--version"),
        note="The body of a failed CONNECT is never shown: add `-v` for the reason and the headers. Over SOCKS5 the number in "
        "brackets is the protocol's reply; `User was rejected` is a failed login. A public certificate needs no `--proxy-cacert`.",
    ),
    Client(
        "curl -v",
        (Route(HTTP, ("curl", "-sS", "-v", *CURL[2:]), Shows.SLUG, Shows.SLUG),),
        version=("curl", "--version"), keep_lines=("< HTTP/", "< Proxy-Status", "< X-Proxy-Error", "curl: "),
        note="Of the proxy's answer only the lines that name the fault are shown here.",
    ),
    Client(
        "curl --proxy-anyauth",
        (Route(HTTP, ("curl", "-sS", "--proxy-anyauth", *CURL[2:]), Shows.STATUS, Shows.BODY),),
        version=("curl", "--version"),
        note="Asks without credentials first, and again, over the same connection, once the 407 says that Basic will do. Without "
        "the option curl sends Basic at once, which saves the round trip.",
    ),
    Client(
        "curl --haproxy-protocol",
        (Route(PROXY_PROTOCOL, ("curl", "-sS", "--haproxy-protocol", *CURL[2:]), None, Shows.BODY),),
        version=("curl", "--version"),
        note="Plays the load balancer in front of a listener with `proxy_protocol_from`.",
    ),
    Client(
        "curl over HTTP/2 (pycurl)",
        (Route(HTTP2, python("curl_http2.py"), Shows.SLUG),),
        version=("{python}", "-c", "import pycurl; print(pycurl.version.split()[1].replace('/', ' '))"), language="python",
        note="`curl --proxy-http2` of the command line, which is newer than the curl of many systems (8.1): here it is the libcurl "
        "that comes with pycurl from PyPI. HTTP/2 has no reason phrase, and libcurl's own error says nothing: what it was stands in "
        "its verbose output (`curl -v`).",
    ),
    Client(
        "wget",
        (Route(
            HTTP,
            ("wget", "-nv", "-O", "-", "-e", "use_proxy=yes", "-e", "http_proxy={proxy}", "-e", "https_proxy={proxy}", "{url}"),
            Shows.SLUG, Shows.SLUG,
        ),),
        version=("wget", "--version"), fails_on_status=True,
        note="Shows the reason phrase and nothing else: there the slug is. It speaks neither TLS to a proxy nor SOCKS.",
    ),
    Client(
        "Python requests",
        (
            Route(HTTP, python("py_requests.py"), Shows.SLUG, Shows.SLUG),
            Route(HTTPS, python("py_requests.py"), Shows.SLUG),
            Route(SOCKS5, python("py_requests.py"), Shows.SOCKS),
        ),
        version=python_package("requests"), language="python",
        note="Over https: `requests.exceptions.ProxyError`, status and reason in its text. SOCKS5 needs `pip install requests[socks]`; "
        "with `socks5://` names are resolved on your own machine, with `socks5h://` by the proxy.",
    ),
    Client(
        "Python httpx",
        (
            Route(HTTP, python("py_httpx.py"), Shows.SLUG, Shows.SLUG),
            Route(HTTPS, python("py_httpx.py"), Shows.SLUG),
            Route(SOCKS5, python("py_httpx.py"), Shows.NOTHING),
        ),
        version=python_package("httpx"), language="python",
        note="Over https: `httpx.ProxyError`, status and reason are its text. SOCKS5 needs `pip install httpx[socks]`.",
    ),
    Client(
        "Python aiohttp",
        (
            Route(HTTP, python("py_aiohttp.py"), Shows.SLUG, Shows.SLUG),
            Route(HTTPS, python("py_aiohttp.py"), Shows.SLUG),
        ),
        version=python_package("aiohttp"), language="python",
        note="Over https: `aiohttp.ClientHttpProxyError` with `status`, `message` and `headers`. "
        "Its text holds the proxy's whole URL: the password ends up in the log of whoever logs it. It has no SOCKS of its own.",
    ),
    Client(
        "Node fetch (undici)",
        (
            Route(HTTP, node("fetch.mjs"), Shows.STATUS, Shows.STATUS),
            Route(HTTPS, node("fetch.mjs"), Shows.STATUS),
        ),
        version=("{node}", "-p", "'undici ' + require('{snippets}/node_modules/undici/package.json').version + ', Node ' + process.version"),
        language="js", denied_port=2525,
        note="Tunnels http targets too, so all of it is a failed CONNECT. Only the status is left, in the error's `cause`. "
        "Needs a non-empty user and password. Ports such as 25 are refused by fetch itself; 2525 is asked for instead.",
    ),
    Client(
        "axios (its own proxy setting)",
        (Route(HTTP, node("axios.mjs"), Shows.SLUG, Shows.SLUG),),
        version=node_package("axios"), language="js", fails_on_status=True,
        note="Versions before mid-2026 send `GET https://…` in clear instead of CONNECT: the answer to that is `https_needs_connect`. "
        "`URL` leaves user and password as they stand in the URL: decode them, or get `credentials_malformed`.",
    ),
    Client(
        "axios (https-proxy-agent)",
        (
            Route(HTTP, node("axios_agent.mjs"), Shows.SLUG, Shows.SLUG),
            Route(HTTPS, node("axios_agent.mjs"), Shows.SLUG),
        ),
        version=node_package("https-proxy-agent"), language="js", fails_on_status=True,
        note="Tunnels http targets too. The answer to a failed CONNECT comes as if it were the target's: look at `X-Proxy-Error`.",
    ),
    Client(
        "Java",
        (
            Route(HTTP, java("Client.java"), Shows.STATUS, Shows.SLUG, Shows.NOTHING,
                  typed="java -Djdk.http.auth.tunneling.disabledSchemes= Client.java {proxy} {url}"),
            Route(SOCKS5, java("Socks.java"), Shows.NOTHING, typed="java Socks.java {proxy} {url}"),
        ),
        version=("{java}", "--version"), language="java",
        note="Without `-Djdk.http.auth.tunneling.disabledSchemes=` Java does not send Basic credentials for a tunnel, and every https "
        "request ends in 407. It sends credentials only after a first 407. `HttpClient` has no SOCKS, `HttpURLConnection` has.",
    ),
    Client(
        "Chromium (Playwright)",
        (
            Route(HTTP, node("browser.mjs", "{chromium}"), Shows.NOTHING, Shows.SLUG, Shows.NOTHING),
            Route(HTTP2, node("browser.mjs", "{chromium}"), Shows.NOTHING),
            Route(SOCKS5_BY_SOURCE, node("browser.mjs", "{chromium}"), Shows.NOTHING),
        ),
        version=("{chromium}", "--version"), language="js", denied_port=2525,
        note="A page never learns why a CONNECT failed: look the request up on the gateway. It never sends credentials before a 407, "
        "to which Playwright then answers; and none at all over SOCKS5: that takes a key that is known by its address "
        "(`outgate keys create --by-ip --allow-ip ADDRESS`). Ports such as 25 are refused by the browser itself; 2525 is asked "
        "for instead.",
    ),
]
