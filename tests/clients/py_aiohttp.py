import asyncio
import sys

import aiohttp


async def main(proxy, url):
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with session.get(url, proxy=proxy) as answer:
                print(answer.status, answer.reason)
                print("X-Proxy-Error:", answer.headers.get("X-Proxy-Error"))
                print(await answer.text())
        except aiohttp.ClientHttpProxyError as error:  # the proxy refused the tunnel
            print("X-Proxy-Error:", error.headers.get("X-Proxy-Error"))
            raise


asyncio.run(main(*sys.argv[1:]))
