#!/usr/bin/env python3
"""Fetches a list of jobs with Scrapy, its own retries and scrapy-rotating-proxies. Input and output as with_requests.py."""

import json
import logging
import sys

import scrapy
from scrapy.crawler import CrawlerProcess

task = json.load(sys.stdin)
done = set()


class Jobs(scrapy.Spider):
    """One request for each job."""

    name = "jobs"
    custom_settings = {
        "CONCURRENT_REQUESTS": task["workers"],
        "CONCURRENT_REQUESTS_PER_DOMAIN": task["workers"],
        "DOWNLOAD_TIMEOUT": 30,
        "DOWNLOAD_DELAY": 0,
        "AUTOTHROTTLE_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
        "RETRY_TIMES": 3,
        "ROTATING_PROXY_LIST": task["proxies"],
        "ROTATING_PROXY_BACKOFF_BASE": 5,
        "ROTATING_PROXY_BACKOFF_CAP": 20,
        "ROTATING_PROXY_PAGE_RETRY_TIMES": 3,
        "DOWNLOADER_MIDDLEWARES": {
            "rotating_proxies.middlewares.RotatingProxyMiddleware": 610,
            "rotating_proxies.middlewares.BanDetectionMiddleware": 620,
        },
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "CRITICAL",
    }

    async def start(self):
        for job in task["jobs"]:
            headers = {"X-Request-Number": str(job["n"])}
            if job["keyed"]:
                headers["Idempotency-Key"] = f"\"{job['n']}\""
            body = b"a" * 300 if job["method"] == "POST" else b""
            url = f"{job['scheme']}://{job['host']}/page/{job['n']}"
            yield scrapy.Request(
                url, method=job["method"], headers=headers, body=body, cb_kwargs={"number": job["n"]}, dont_filter=True
            )

    def parse(self, response, number):
        if response.status == 200 and response.body.startswith(b"x" * 2000):
            done.add(number)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    process = CrawlerProcess()
    process.crawl(Jobs)
    process.start()
    json.dump({"done": sorted(done)}, sys.stdout)
