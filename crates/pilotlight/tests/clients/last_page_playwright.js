// Playwright closes the last page: node last_page_playwright.js URL TOKEN PAGE
const { chromium } = require('playwright-core');
const { check, run } = require('./workshop');

const [url, token, page] = process.argv.slice(2);
const connect = () => chromium.connectOverCDP(url, { headers: { Authorization: `Bearer ${token}` } });

async function work() {
  let browser = await connect();
  let [context] = browser.contexts();
  await context.pages()[0].goto(page);
  await context.pages()[0].evaluate(() => { document.cookie = 'fresh=1; path=/'; localStorage.fresh = 'kept'; });
  for (const open of context.pages()) await open.close();
  for (let number = 0; number < 3; number++) {
    const opened = await context.newPage();
    await opened.goto(page);
    check((await opened.evaluate(() => document.cookie)).includes('fresh=1'), 'the cookie of a moment ago');
    check((await opened.evaluate(() => localStorage.fresh)) === 'kept', 'what was stored a moment ago');
    await opened.close();
  }
  check((await context.cookies()).some((cookie) => cookie.name === 'fresh'), 'the cookies of the context');
  await browser.close();

  browser = await connect();
  [context] = browser.contexts();
  check((await context.cookies()).some((cookie) => cookie.name === 'fresh'), 'the cookies are still there');
  check(context.pages().length === 1, 'one page is there for the next client');
  await browser.close();
}

run(work);
