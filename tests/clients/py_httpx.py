import sys

import httpx

proxy, url = sys.argv[1:]
with httpx.Client(proxy=proxy, timeout=30) as client:
    answer = client.get(url)
print(answer.status_code, answer.reason_phrase)
print("X-Proxy-Error:", answer.headers.get("X-Proxy-Error"))
print(answer.text)
