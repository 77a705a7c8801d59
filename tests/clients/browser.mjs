import { chromium } from 'playwright-core';

const [proxy, url, executablePath = '/usr/bin/chromium'] = process.argv.slice(2);
const { protocol, host, username, password } = new URL(proxy);
const credentials = username && { username: decodeURIComponent(username), password: decodeURIComponent(password) };
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--ignore-certificate-errors'], // only for a container and for tests
  // Chromium ignores credentials in --proxy-server: Playwright answers the 407 instead. It also goes around the
  // proxy for this machine's own names unless told not to.
  proxy: { server: `${protocol}//${host}`, ...credentials, bypass: '<-loopback>' },
});
try {
  const page = await browser.newPage();
  // An answer that breaks off: goto() alone would wait for the rest until its time is over.
  const broken = new Promise((_, reject) => {
    page.on('requestfailed', (request) => reject(new Error(request.failure().errorText)));
  });
  const answer = await Promise.race([page.goto(url, { timeout: 30000 }), broken]);
  console.log(answer.status(), answer.statusText());
  console.log('X-Proxy-Error:', answer.headers()['x-proxy-error']);
  console.log(await answer.text());
} finally {
  await browser.close();
}
