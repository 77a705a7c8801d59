#!/usr/bin/env python3
"""Serves a simulated provider: two accounts, each on a port of its own, with the targets behind them.

Prints one line of JSON when it is ready, and one with what it judged when its standard input ends.
"""

import argparse
import asyncio
import base64
import json
import socket
import ssl
import struct
import sys
import time
from urllib.parse import urlsplit

from dialects import session_of, spell
from mixes import ALL
from world import ACCOUNTS, BROKEN, RESET, Said, World, http_date

PAGE = b"x" * 2000
CHALLENGE = b"<html><head><title>Just a moment...</title></head><body>Are you a robot? Complete the CAPTCHA.</body></html>"


class Provider:
    """The sockets around a world."""

    def __init__(self, world, jobs, certificate):
        self.world = world
        self.jobs = {job["n"]: job for job in jobs}
        self.started = None
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(certificate)

    def now(self):
        # The clock of the run begins with its first request: what clients need to start is not part of it.
        if self.started is None:
            self.started = time.monotonic()
        return time.monotonic() - self.started

    async def serve(self):
        """Opens the ports and, where the mix says so, closes and opens them again."""
        ports = []
        for account in range(ACCOUNTS):
            listener = socket.create_server(("127.0.0.1", 0), backlog=512)
            ports.append(listener.getsockname()[1])
            asyncio.get_running_loop().create_task(self.keep_open(listener, account, ports[-1]))
        return ports

    async def keep_open(self, listener, account, port):
        async def handle(reader, writer):
            try:
                await self.connection(reader, writer, account)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError, TimeoutError):
                pass
            finally:
                writer.close()

        while True:
            server = await asyncio.start_server(handle, sock=listener)
            while self.started is None or self.world.is_open(self.now()):
                await asyncio.sleep(0.05)
            server.close()
            while not self.world.is_open(self.now()):
                await asyncio.sleep(0.02)
            listener = socket.create_server(("127.0.0.1", port), backlog=512)

    async def connection(self, reader, writer, account):
        while True:
            head = await read_head(reader)
            if head is None:
                return
            method, target, headers = head
            session = session_of(self.world.mix.dialect, user_of(headers))
            if method == "CONNECT":
                await self.tunnel(reader, writer, account, session, target.rsplit(":", 1)[0])
                return
            url = urlsplit(target)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            job = self.job(headers)
            way = self.world.set_up(self.now(), account, session, url.hostname, job)
            if isinstance(way, Said):
                await self.refuse(writer, way)
                return
            if not await self.target(writer, account, way, url.hostname, job, method, len(body)):
                return

    async def tunnel(self, reader, writer, account, session, host):
        way = self.world.set_up(self.now(), account, session, host, None)
        if isinstance(way, Said):
            await self.refuse(writer, way)
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(self.tls)
        while True:
            head = await read_head(reader)
            if head is None:
                return
            method, _, headers = head
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if not await self.target(writer, account, way, host, self.job(headers), method, len(body)):
                return

    def job(self, headers):
        number = headers.get("x-request-number")
        return self.jobs.get(int(number)) if number else None

    async def refuse(self, writer, said):
        await asyncio.sleep(said.delay)
        if said is RESET:
            reset(writer)
            return
        status, reason, headers, body = spell(self.world.mix.dialect, said.kind)
        await answer(writer, status, reason, headers + wait_of(said), body.encode())

    async def target(self, writer, account, way, host, job, method, length):
        """Answers as the target does; whether the connection can go on."""
        said = self.world.visit(self.now(), account, way, host, job)
        await asyncio.sleep(said.delay)
        if said is BROKEN:
            reset(writer)
            return False
        if said.kind == "ok":
            await answer(writer, 200, "OK", [("Content-Type", "text/plain")], PAGE + f" {method} {length}".encode())
            return True
        reason = {403: "Forbidden", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}[said.status]
        headers = [("Content-Type", "text/html"), ("Server", "nginx")] + wait_of(said)
        body = CHALLENGE if said.kind == "challenge" else f"<html><h1>{said.status} {reason}</h1></html>".encode()
        await answer(writer, said.status, reason, headers, body)
        return True


def wait_of(said):
    if said.wait is None:
        return []
    if said.form == "date":
        return [("Retry-After", http_date(time.time() + said.wait))]
    return [("Retry-After", str(int(said.wait + 0.999)))]


async def read_head(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    method, target, _ = first.split(" ", 2)
    return method, target, headers


def user_of(headers):
    scheme, _, word = headers.get("proxy-authorization", "").partition(" ")
    return base64.b64decode(word).decode().split(":")[0] if scheme.lower() == "basic" else ""


async def answer(writer, status, reason, headers, body):
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), f"Content-Length: {len(body)}"]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()


def reset(writer):
    """Ends a connection with RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mix", choices=ALL, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--certificate", required=True, help="PEM with the targets' certificate and its key")
    args = parser.parse_args()
    world = World(ALL[args.mix], args.seed)
    jobs = world.jobs(args.requests)
    provider = Provider(world, jobs, args.certificate)
    ports = await provider.serve()
    print(json.dumps({"ports": ports, "jobs": jobs, "feasible": [world.feasible(job["host"]) for job in jobs]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    judge = world.judge
    print(json.dumps({
        "attempts": judge.attempts, "wasted": judge.wasted, "duplicates": judge.duplicates(),
        "ambiguous": sorted(judge.ambiguous), "seconds": provider.now(),
    }), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
