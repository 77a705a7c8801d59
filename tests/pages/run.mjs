#!/usr/bin/env node
// The console's pages in a real browser: an operator's and a key owner's day, and what every page must be.
//
//   run.mjs [--outgate PATH] [--modules FOLDER]
//
// Loopback only. UPDATE_DOCS=1 also makes the pictures of docs/pages.md, which takes some minutes of traffic.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { connect, freePort, get, startGateway, startOrigin } from "./gateway.mjs";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const { values: options } = parseArgs({
  options: {
    outgate: { type: "string", default: path.join(ROOT, "target/debug/outgate") },
    modules: { type: "string", default: path.join(ROOT, "target/pages-node") },
  },
});
const modules = createRequire(path.resolve(options.modules, "package.json"));
const { chromium } = modules("playwright-core");
const AXE = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
// Ends a run that hangs; all of it takes some twenty seconds.
const HANG = 600_000;
const PATIENCE = 30_000;
const PICTURES = path.join(ROOT, "docs/pages");
const DRAWING = process.env.UPDATE_DOCS === "1";
const DESK = { width: 1180, height: 800 };
const PHONE = { width: 390, height: 800 };

const complaints = [];

// A new browser profile whose pages must not complain: of blocked content, of scripts, of anything.
async function visitor(browser, more = {}) {
  const context = await browser.newContext({ viewport: DESK, ...more });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
  page.on("console", (message) => {
    // A form that is refused on purpose is answered 4xx, which Chromium notes.
    if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) complaints.push(`${page.url()}: ${message.text()}`);
  });
  return page;
}

async function signIn(page, console_url, fields) {
  await page.goto(`${console_url}/login`);
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: false }).fill(value);
  await page.getByRole("button", { name: "Key id" in fields ? "Sign in as owner" : "Sign in as operator" }).click();
}

// What a screen reader or a keyboard would trip over, in light and dark; and nothing may be wider than a phone.
async function accessible(page, url, schemes = ["light", "dark"]) {
  await page.goto(url);
  for (const colorScheme of schemes) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() =>
      // What differs in the dark is the contrast.
      globalThis.axe.run(document, matchMedia("(prefers-color-scheme: dark)").matches ? { runOnly: { type: "rule", values: ["color-contrast"] } } : {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      }),
    );
    for (const { id, help, nodes } of violations) {
      complaints.push(`${url} (${colorScheme}): ${id}, ${help}: ${nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary ?? ""}`).join(" | ")}`);
    }
  }
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize(PHONE);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 0) complaints.push(`${url}: ${wide} pixels wider than a phone`);
  const ids = await page.evaluate(() => {
    const all = [...document.querySelectorAll("[id]")].map((element) => element.id);
    return all.filter((id, index) => all.indexOf(id) !== index);
  });
  if (ids.length > 0) complaints.push(`${url}: ids that are there twice: ${ids}`);
  await page.setViewportSize(DESK);
}

const steps = [];
async function step(name, work) {
  const began = Date.now();
  await work();
  steps.push(`  ${name} (${Date.now() - began} ms)`);
}

async function run(gateway, origin, browser) {
  const { console_url, proxy } = gateway;
  const page = await visitor(browser);
  const key = { key: "", secret: "" };
  let tunnel, failed;

  await step("a stranger sees the log-in only", async () => {
    for (const there of ["/overview", "/keys", "/requests", "/me", "/requests/abc"]) {
      await page.goto(console_url + there);
      assert.match(page.url(), /\/login/, there);
    }
    const answer = await page.request.post(`${console_url}/keys`, { form: { id: "abcd" }, maxRedirects: 0 });
    assert.equal(answer.status(), 303, "nothing is made");
    await signIn(page, console_url, { "Admin token": "wrong" });
    assert.match(await page.getByRole("alert").innerText(), /not the admin token/);
  });

  await step("the operator signs in and is brought to where they wanted to go", async () => {
    await page.goto(`${console_url}/keys`);
    await page.getByLabel("Admin token").fill(gateway.admin_token);
    await page.getByLabel("Your name").fill("ada");
    await page.getByRole("button", { name: "Sign in as operator" }).click();
    assert.equal(new URL(page.url()).pathname, "/keys");
    const [cookie] = (await page.context().cookies()).filter(({ name }) => name === "outgate");
    assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
  });

  await step("they create a plan and a key, whose secret is shown once", async () => {
    await page.getByRole("link", { name: "Plans" }).click();
    await page.getByRole("link", { name: "Create a plan" }).click();
    await page.getByLabel("Name").fill("small");
    await page.getByLabel("Bytes in a period").fill("lots");
    await page.getByRole("button", { name: "Create the plan" }).click();
    assert.match(await page.getByRole("alert").innerText(), /bytes/, "what is wrong is said");
    assert.equal(await page.getByLabel("Name").inputValue(), "small", "what was typed is kept");
    await page.getByLabel("Bytes in a period").fill("10MB");
    await page.getByRole("button", { name: "Create the plan" }).click();
    await page.getByRole("link", { name: "Keys" }).click();
    await page.getByRole("link", { name: "Create a key" }).click();
    await page.getByLabel("Id").fill("shop1");
    await page.getByLabel("Plan").selectOption("small");
    await page.getByRole("button", { name: "Create the key" }).click();
    assert.equal(new URL(page.url()).pathname, "/keys/shop1");
    Object.assign(key, { key: "shop1", secret: await page.locator("#secret-shown").innerText() });
    assert.match(key.secret, /^[a-z2-7]{32}$/);
    await page.reload();
    assert.equal(await page.locator("#secret-shown").count(), 0, "once");
  });

  await step("they see its traffic come, without loading the page again", async () => {
    const loaded = await page.evaluate(() => (globalThis.loadedOnce = Math.random()));
    tunnel = await connect(proxy, key, `127.0.0.1:${origin.echo}`);
    assert.equal(tunnel.status, 200);
    const id = tunnel.headers["x-outgate-request-id"];
    await page.locator("#flying").getByText(id).waitFor();
    await page.locator("#flying").getByText("open tunnel").waitFor();
    tunnel.socket.write(Buffer.alloc(300_000));
    tunnel.socket.resume();
    await page.locator("#now").getByText(/[34]\d\d\skB|6\d\d\skB/).waitFor();
    assert.equal(await page.evaluate(() => globalThis.loadedOnce), loaded, "it is the same page");
    await page.goto(`${console_url}/requests`);
    await page.getByRole("link", { name: "shop1" }).waitFor();
  });

  await step("they find a failed request by its id and read its cause and fix", async () => {
    failed = await connect(proxy, key, "127.0.0.1:1");
    assert.equal(failed.status, 403);
    const refused = await connect(proxy, key, `127.0.0.1:${origin.closed}`);
    assert.equal(refused.status, 502);
    const id = refused.headers["x-outgate-request-id"];
    failed = { id };
    // A record is written within a second of the request's end.
    for (const until = Date.now() + PATIENCE; ; ) {
      await page.goto(`${console_url}/requests`);
      await page.getByRole("textbox", { name: "Request id" }).fill(id);
      await page.getByRole("button", { name: "Show its report" }).click();
      if ((await page.getByRole("heading", { name: "What it means" }).count()) > 0) break;
      assert.ok(Date.now() < until, "its record is not there");
    }
    const text = await page.locator("main").innerText();
    for (const part of ["target_refused", "shop1", "Cause", "Fix", "Where the time went", "refused the connection", `127.0.0.1:${origin.closed}`]) {
      assert.ok(text.includes(part), `${part} is not in\n${text}`);
    }
    const paste = await page.locator("pre").innerText();
    assert.ok(paste.includes(id) && paste.includes("127.0.x.x") && !paste.includes(key.secret), paste);
    await page.goto(`${console_url}/requests?key=shop1&failed=true`);
    await page.getByRole("link", { name: id }).waitFor();
    await page.getByRole("link", { name: "port_denied" }).first().click();
    await page.getByText("What clients see").waitFor();
  });

  await step("they suspend the key, and its tunnel ends", async () => {
    const ended = new Promise((resolve) => tunnel.socket.once("close", resolve));
    await page.goto(`${console_url}/keys/shop1`);
    await page.getByRole("button", { name: "Suspend" }).click();
    await ended;
    await page.locator("#state").getByText("suspended").waitFor();
    await page.locator("#flying").getByText("Nothing is in flight").waitFor();
    assert.equal((await connect(proxy, key, `127.0.0.1:${origin.echo}`)).status, 407);
    await page.getByRole("button", { name: "Resume" }).click();
    await page.locator("#state").getByText("active").waitFor();
    await page.goto(`${console_url}/audit`);
    await page.getByText("key.suspend").waitFor();
    assert.ok((await page.locator("main").innerText()).includes("admin (ada)"));
  });

  await step("the owner of the key sees its own faults, and nothing else", async () => {
    const owner = await visitor(browser);
    await signIn(owner, console_url, { "Key id": "shop1", Secret: "wrong-secret" });
    assert.match(await owner.getByRole("alert").innerText(), /credentials_wrong/);
    await signIn(owner, console_url, { "Key id": "shop1", Secret: key.secret });
    assert.equal(new URL(owner.url()).pathname, "/me");
    await owner.locator("#faults summary", { hasText: "target_refused" }).click();
    await owner.locator("#faults details[open]").getByText("Cause").waitFor();
    await owner.getByRole("link", { name: failed.id }).click();
    assert.ok((await owner.locator("main").innerText()).includes("What it means"));
    for (const there of ["/keys", "/overview", "/keys/shop1", `/requests/${failed.id}`]) {
      await owner.goto(console_url + there);
      assert.match(owner.url(), /\/login/, there);
    }
    await accessible(owner, `${console_url}/me`);
    await owner.goto(`${console_url}/me`);
    await owner.getByText("Make a new secret").first().click();
    await owner.getByLabel("Present secret").fill(key.secret);
    await owner.getByRole("button", { name: "Make a new secret" }).click();
    // The old secret ended, and with it every log-in that it opened.
    assert.match(owner.url(), /\/login/);
    await owner.context().close();
  });

  await step("a form that is not ours does nothing", async () => {
    const forged = { form_token: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
    const answers = await Promise.all([
      page.request.post(`${console_url}/keys/shop1/suspend`, { form: {} }),
      page.request.post(`${console_url}/keys/shop1/suspend`, { form: forged }),
      page.request.post(`${console_url}/logout`, { form: forged }),
      page.request.post(`${console_url}/login`, { form: { ...forged, as: "operator", token: gateway.admin_token } }),
    ]);
    assert.deepEqual(answers.map((answer) => answer.status()), [403, 403, 403, 403]);
    const elsewhere = await visitor(browser);
    await elsewhere.route("http://evil.example/", (route) => route.fulfill({
      contentType: "text/html",
      body: `<form method="post" action="${console_url}/keys/shop1/suspend"><button>go</button></form>`,
    }));
    await elsewhere.context().addCookies(await page.context().cookies());
    await elsewhere.goto("http://evil.example/");
    await elsewhere.getByRole("button").click();
    await elsewhere.waitForURL(/login|suspend/);
    await elsewhere.context().close();
    await page.goto(`${console_url}/keys/shop1`);
    assert.equal(await page.locator("#state").innerText(), "active");
  });

  await step("all of it works without JavaScript", async () => {
    const plain = await visitor(browser, { javaScriptEnabled: false });
    await signIn(plain, console_url, { "Admin token": gateway.admin_token });
    await plain.getByRole("link", { name: "Keys" }).click();
    await plain.getByRole("link", { name: "shop1" }).click();
    await plain.getByText("Plan, addresses, expiry").click();
    await plain.getByLabel("May be used from").fill("127.0.0.0/8, 192.0.2.7");
    await plain.getByRole("button", { name: "Save" }).click();
    await plain.getByText("The key was changed").waitFor();
    assert.ok((await plain.locator("#now").innerText()).includes("192.0.2.7/32"));
    await plain.getByText("Revoke", { exact: true }).click();
    await plain.getByRole("button", { name: "Revoke the key for good" }).click();
    assert.equal(await plain.locator("#state").innerText(), "active", "the box was not ticked");
    await plain.goto(`${console_url}/new/exit`);
    await plain.getByLabel("Name").fill("phone 1");
    await plain.getByLabel("Country").fill("us");
    await plain.getByRole("button", { name: "Enrol the exit" }).click();
    assert.match(await plain.locator(".secret pre").innerText(), /^outgate exit --gateway ws:\/\/127\.0\.0\.1:\d+ --token [a-z2-7]{32}$/);
    await plain.getByRole("button", { name: "Sign out" }).click();
    await plain.goto(`${console_url}/overview`);
    assert.match(plain.url(), /\/login/);
    await plain.context().close();
  });

  await step("every page can be read with a screen reader, in the dark and on a phone", async () => {
    const pages = [
      "/overview", "/requests", "/requests?failed=true", `/requests/${failed.id}`, "/faults", "/faults/dns_failed", "/keys", "/new/key",
      "/keys/shop1", "/plans", "/plans/small", "/new/plan", "/exits", "/new/exit", "/incidents", "/audit", "/status",
    ];
    // These have every piece that the others are made of.
    const dark = ["/overview", "/requests?failed=true", "/faults", "/keys/shop1", "/new/plan", "/status"];
    for (const there of pages) await accessible(page, console_url + there, dark.includes(there) ? ["light", "dark"] : ["light"]);
    const stranger = await visitor(browser);
    await accessible(stranger, `${console_url}/login`);
    await stranger.context().close();
  });

  await step("the public's listener has the status and nothing else", async () => {
    const stranger = await visitor(browser);
    await stranger.goto(gateway.status_url);
    assert.equal(new URL(stranger.url()).pathname, "/status");
    assert.ok((await stranger.locator("main").innerText()).includes("Gateway"));
    const json = await (await stranger.request.get(`${gateway.status_url}/status.json`)).json();
    assert.equal(json.exits.residential.unknown, 1);
    for (const there of ["/login", "/overview", "/v1/keys", "/metrics", "/healthz"]) {
      assert.equal((await stranger.request.get(gateway.status_url + there)).status(), 404, there);
    }
    const seen = JSON.stringify(json) + (await stranger.content());
    assert.ok(!seen.includes("shop1") && !seen.includes(gateway.key_id), "no key is named");
    await stranger.context().close();
  });

  await step("every answer has its headers", async () => {
    const accept = { headers: { accept: "text/html" } };
    for (const there of ["/login", "/status", "/keys", "/keys/none", "/nothing", "/assets/live.js"]) {
      const headers = (await page.request.get(console_url + there, accept)).headers();
      assert.match(headers["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/, there);
      assert.ok(!/unsafe/.test(headers["content-security-policy"]), there);
      assert.deepEqual([headers["referrer-policy"], headers["x-content-type-options"], headers["x-frame-options"]], ["no-referrer", "nosniff", "DENY"], there);
      assert.match(headers["cache-control"], there.startsWith("/assets") || there === "/status" ? /^public/ : /^no-store$/, there);
    }
  });
  await page.context().close();
}

// The pictures of docs/pages.md: a gateway with some minutes of mixed traffic, and then with a target that fails.
async function draw(gateway, origin, browser) {
  mkdirSync(PICTURES, { recursive: true });
  const { console_url, proxy } = gateway;
  const first = { key: gateway.key_id, secret: gateway.secret };
  let [going, failing] = [true, 61];
  const customers = Array.from({ length: 12 }, async (_, number) => {
    for (let round = number; going; round += 1) {
      const key = { ...first, key: round % 3 ? first.key : `${first.key}-pool-residential` };
      if (round % failing === 0) (await connect(proxy, key, `127.0.0.1:${origin.closed}`)).socket.destroy();
      else if (round % 67 === 0) (await connect(proxy, key, "10.0.0.1:443")).socket.destroy();
      else if (round % 71 === 0) (await connect(proxy, key, "mail.example.com:25")).socket.destroy();
      else await get(proxy, key, `http://127.0.0.1:${origin.web}/`);
      await new Promise((resolve) => setTimeout(resolve, 40 + 60 * Math.abs(Math.sin(Date.now() / 9_000))));
    }
  });
  const open = await Promise.all([1, 2, 3].map(() => connect(proxy, first, `127.0.0.1:${origin.echo}`)));
  await new Promise((resolve) => setTimeout(resolve, 125_000));
  const page = await visitor(browser);
  const take = async (name, there, colorScheme = "light", viewport = DESK) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    if (there) await page.goto(console_url + there);
    await page.screenshot({ path: path.join(PICTURES, `${name}.png`) });
  };
  await take("login", "/login");
  await signIn(page, console_url, { "Admin token": gateway.admin_token });
  await take("overview", "/overview?range=10m");
  await take("overview-dark", "/overview?range=10m", "dark");
  await take("overview-phone", "/overview?range=10m", "dark", PHONE);
  await take("key", `/keys/${first.key}`);
  await take("requests", "/requests");
  await take("status", "/status");
  await page.goto(`${console_url}/requests?outcome=target_refused`);
  await page.locator("tbody a").first().click();
  await take("report");
  failing = 4;
  await page.goto(`${console_url}/incidents`);
  await page.locator("#open article").waitFor({ timeout: 180_000 });
  await take("incident");
  await take("status-phone", "/status", "dark", PHONE);
  const owner = await visitor(browser);
  await signIn(owner, console_url, { "Key id": first.key, Secret: first.secret });
  await owner.locator("#faults summary").first().click();
  await owner.screenshot({ path: path.join(PICTURES, "me.png") });
  going = false;
  open.forEach(({ socket }) => socket.destroy());
  await Promise.all(customers);
}

const hang = setTimeout(() => {
  console.error("the run hangs; what was done so far:\n" + steps.join("\n"));
  process.exit(1);
}, HANG);
const executablePath = BROWSERS.find(existsSync);
assert.ok(executablePath, `no browser: ${BROWSERS}`);
const origin = await startOrigin();
// Nobody listens there any more.
origin.closed = await freePort();
const gateway = await startGateway(path.resolve(options.outgate));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
let failure;
try {
  await run(gateway, origin, browser);
  if (DRAWING) await draw(gateway, origin, browser);
} catch (error) {
  failure = error;
} finally {
  await browser.close();
  await gateway.stop();
  origin.stop();
}
clearTimeout(hang);
console.log(steps.join("\n"));
if (failure) console.error(failure);
complaints.forEach((complaint) => console.error(`complaint: ${complaint}`));
process.exit(failure || complaints.length > 0 ? 1 : 0);
