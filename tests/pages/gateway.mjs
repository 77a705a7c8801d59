// A quickstart gateway to look at, and what a user sends through it.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

const ARGUMENTS = [
  "quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--json",
  "--allow-target", "127.0.0.0/8", "--allow-port", "1024-65535",
];

// Starts a gateway in a folder of its own; resolves when it is ready.
export async function startGateway(executable) {
  const folder = await mkdtemp(path.join(tmpdir(), "outgate-pages-"));
  const status = await freePort();
  const child = spawn(executable, [...ARGUMENTS, "--data", path.join(folder, "data")], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, OUTGATE_CONSOLE_STATUS: `127.0.0.1:${status}`, OUTGATE_ADMIN_TOKEN: "" },
  });
  const said = [];
  child.stderr.on("data", (data) => said.push(data));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const lines = createInterface({ input: child.stdout });
  const ready = await Promise.race([
    new Promise((resolve) => lines.once("line", (line) => resolve(JSON.parse(line)))),
    ended.then((code) => { throw new Error(`the gateway ended with ${code}: ${Buffer.concat(said)}`); }),
  ]);
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  return { ...ready, status_url: `http://127.0.0.1:${status}`, proxy: new URL(ready.proxy_url), stop };
}

// A port that was free a moment ago: the gateway's command line has none for the status page's own listener.
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// An origin that answers every request, and one that sends back what it gets.
export async function startOrigin() {
  const web = http.createServer((request, response) => response.end("fine\n".repeat(2_000)));
  const echo = net.createServer((socket) => socket.on("error", () => {}).pipe(socket));
  for (const server of [web, echo]) {
    server.listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
  }
  return {
    web: web.address().port,
    echo: echo.address().port,
    stop() {
      web.close();
      web.closeAllConnections();
      echo.close();
    },
  };
}

const basic = (key, secret) => `Basic ${Buffer.from(`${key}:${secret}`).toString("base64")}`;

// Opens a tunnel. Resolves with the answer's status and fields, and the socket behind it.
export function connect(proxy, { key, secret }, target) {
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: proxy.hostname, port: proxy.port, method: "CONNECT", path: target, agent: false,
      headers: { host: target, "proxy-authorization": basic(key, secret) },
    });
    request.once("error", reject);
    // A tunnel that is cut is reset: that it ended is what counts.
    request.once("connect", (answer, socket) => resolve({ status: answer.statusCode, headers: answer.headers, socket: socket.on("error", () => {}) }));
    request.end();
  });
}

// One forwarded request; resolves with its status.
export function get(proxy, { key, secret }, url) {
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: proxy.hostname, port: proxy.port, path: url, agent: false,
      headers: { host: new URL(url).host, "proxy-authorization": basic(key, secret) },
    });
    request.once("error", reject);
    request.once("response", (answer) => {
      answer.resume();
      answer.once("end", () => resolve(answer.statusCode));
    });
    request.end();
  });
}
