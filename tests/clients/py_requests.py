import sys

import requests

proxy, url = sys.argv[1:]
answer = requests.get(url, proxies={"http": proxy, "https": proxy}, timeout=30)
print(answer.status_code, answer.reason)
print("X-Proxy-Error:", answer.headers.get("X-Proxy-Error"))
print(answer.text)
