// Playwright sends nothing for a while: node silent_playwright.js URL TOKEN SECONDS
const { chromium } = require('playwright-core');
const { check, run, silence } = require('./workshop');

const [url, token, seconds] = process.argv.slice(2);

async function work() {
  const browser = await chromium.connectOverCDP(url, { headers: { Authorization: `Bearer ${token}` } });
  const [context] = browser.contexts();
  const [page] = context.pages();
  const seen = [];
  context.on('page', (opened) => seen.push(`page ${opened.url()}`));
  page.on('framenavigated', (frame) => seen.push(`navigation to ${frame.url()}`));
  page.on('request', (request) => seen.push(`request of ${request.url()}`));
  await page.evaluate(() => {
    globalThis.kept = { since: 'before' };
    document.body.insertAdjacentHTML('beforeend', '<input id="half">');
  });
  await page.fill('#half', 'half a sen');
  const handle = await page.$('#half');
  await silence(seconds, () => page.evaluate(() => globalThis.kept.since), 'before');
  check((await handle.inputValue()) === 'half a sen', 'the half-filled form');
  check(context.pages().length === 1, 'its page is the only one');
  check(seen.length === 0, `nothing happened: ${seen.join(', ')}`);
  await browser.close();
}

run(work);
