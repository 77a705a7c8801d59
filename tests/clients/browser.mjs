import { chromium } from 'playwright-core';

const [proxy, url, executablePath = '/usr/bin/chromium'] = process.argv.slice(2);
const { host, username, password } = new URL(proxy);
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-dev-shm-usage'], // only for a container
  // Chromium ignores credentials in --proxy-server: Playwright answers the 407 instead. It also goes around the
  // proxy for this machine's own names unless told not to.
  proxy: { server: `http://${host}`, username, password, bypass: '<-loopback>' },
});
try {
  const page = await browser.newPage({ ignoreHTTPSErrors: true }); // only for a test's own certificate
  const answer = await page.goto(url, { timeout: 30000 });
  console.log(answer.status(), answer.statusText());
  console.log('X-Proxy-Error:', answer.headers()['x-proxy-error']);
  console.log(await answer.text());
} finally {
  await browser.close();
}
