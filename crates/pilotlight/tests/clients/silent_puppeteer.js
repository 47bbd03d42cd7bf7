// Puppeteer sends nothing for a while: node silent_puppeteer.js CDP_URL TOKEN SECONDS
const puppeteer = require('puppeteer-core');
const { check, run, silence } = require('./workshop');

const [cdpUrl, token, seconds] = process.argv.slice(2);

async function work() {
  const headers = { Authorization: `Bearer ${token}` };
  const browser = await puppeteer.connect({ browserWSEndpoint: cdpUrl, headers, defaultViewport: null });
  const [page] = await browser.pages();
  const seen = [];
  for (const event of ['targetcreated', 'targetchanged', 'targetdestroyed']) {
    browser.on(event, (target) => seen.push(`${event} ${target.url()}`));
  }
  page.on('request', (request) => seen.push(`request of ${request.url()}`));
  await page.evaluate(() => {
    globalThis.kept = { since: 'before' };
    document.body.insertAdjacentHTML('beforeend', '<input id="half">');
  });
  await page.type('#half', 'half a sen');
  const handle = await page.$('#half');
  await silence(seconds, () => page.evaluate(() => globalThis.kept.since), 'before');
  check((await handle.evaluate((field) => field.value)) === 'half a sen', 'the half-filled form');
  check((await browser.pages()).length === 1, 'its page is the only one');
  check(seen.length === 0, `nothing happened: ${seen.join(', ')}`);
  await browser.disconnect();
}

run(work);
