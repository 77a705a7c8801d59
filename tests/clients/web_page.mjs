// Opens the proxy's own address and tells what a person would see there, as JSON.
import { chromium } from 'playwright-core';

const [url, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
try {
  const phone = { width: 320, height: 640 };
  const page = await browser.newPage({ ignoreHTTPSErrors: true, viewport: phone });
  const complaints = [];
  // The status itself and the icon that a browser asks for are no fault of the page.
  page.on('console', (message) => message.text().startsWith('Failed to load resource') || complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  const answer = await page.goto(url);
  const colors = {};
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    colors[colorScheme] = await page.evaluate(() => {
      const probe = document.createElement('p');
      probe.style.color = 'CanvasText';
      document.body.append(probe);
      return getComputedStyle(probe).color;
    });
  }
  const shown = await page.evaluate(() => ({
    heading: document.querySelector('h1').innerText,
    lines: [...document.querySelectorAll('pre')].map((line) => line.innerText),
    request: [...document.querySelectorAll('code')].map((code) => code.innerText).find((text) => /^[0-9a-f]{24}$/.test(text)),
    widthNeeded: document.documentElement.scrollWidth,
    widthThere: window.innerWidth,
  }));
  console.log(JSON.stringify({ status: answer.status(), type: answer.headers()['content-type'], colors, complaints, ...shown }));
} finally {
  await browser.close();
}
