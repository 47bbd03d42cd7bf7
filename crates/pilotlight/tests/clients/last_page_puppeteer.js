// Puppeteer closes all pages: node last_page_puppeteer.js CDP_URL TOKEN PAGE
const puppeteer = require('puppeteer-core');
const { check, run } = require('./workshop');

const [cdpUrl, token, page] = process.argv.slice(2);
const connect = () => puppeteer.connect({ browserWSEndpoint: cdpUrl, headers: { Authorization: `Bearer ${token}` }, defaultViewport: null });

async function work() {
  let browser = await connect();
  const [first] = await browser.pages();
  await first.goto(page);
  await first.evaluate(() => { document.cookie = 'fresh=1; path=/'; localStorage.fresh = 'kept'; });
  for (const open of await browser.pages()) await open.close();
  for (let number = 0; number < 3; number++) {
    const opened = await browser.newPage();
    await opened.goto(page);
    check((await opened.evaluate(() => document.cookie)).includes('fresh=1'), 'the cookie of a moment ago');
    check((await opened.evaluate(() => localStorage.fresh)) === 'kept', 'what was stored a moment ago');
    await opened.close();
  }
  check((await browser.cookies()).some((cookie) => cookie.name === 'fresh'), 'the cookies of the browser');
  await browser.close();

  browser = await connect();
  check((await browser.cookies()).some((cookie) => cookie.name === 'fresh'), 'the cookies are still there');
  check((await browser.pages()).length === 1, 'one page is there for the next client');
  await browser.disconnect();
}

run(work);
