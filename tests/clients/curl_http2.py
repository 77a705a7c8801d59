import io
import os
import sys

import certifi
import pycurl


def told(_kind, line):
    if line.lstrip(b" *").startswith(b"x-proxy-error"):
        print(line.decode().strip(), file=sys.stderr)


proxy, url = sys.argv[1:]
body = io.BytesIO()
curl = pycurl.Curl()
curl.setopt(pycurl.URL, url)
curl.setopt(pycurl.PROXY, proxy)
curl.setopt(pycurl.PROXYTYPE, 3)  # CURLPROXY_HTTPS2: what --proxy-http2 says on the command line
curl.setopt(pycurl.TIMEOUT, 30)
curl.setopt(pycurl.WRITEDATA, body)
curl.setopt(pycurl.VERBOSE, True)  # the only place where libcurl tells the answer to a CONNECT over HTTP/2
curl.setopt(pycurl.DEBUGFUNCTION, told)
for authorities in (pycurl.CAINFO, pycurl.PROXY_CAINFO):
    curl.setopt(authorities, os.environ.get("SSL_CERT_FILE", certifi.where()))
try:
    curl.perform()
    print(curl.getinfo(pycurl.RESPONSE_CODE), body.getvalue().decode())
except pycurl.error as error:
    sys.exit(f"curl: {error}")
