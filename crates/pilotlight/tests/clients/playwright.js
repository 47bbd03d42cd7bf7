// Playwright, by `connectOverCDP`: node playwright.js SESSION_URL TOKEN USER FILE
const fs = require('node:fs');
const { chromium } = require('playwright-core');
const { BUILD, check, run } = require('./workshop');

const [sessionUrl, token, user, file] = process.argv.slice(2);

async function connect() {
  const browser = await chromium.connectOverCDP(sessionUrl, { headers: { Authorization: `Bearer ${token}` } });
  return browser;
}

async function work() {
  let browser = await connect();
  check(browser.contexts().length === 1, 'one context');
  const [context] = browser.contexts();
  check(context.pages().length === 1, 'one page');
  const [page] = context.pages();
  await page.waitForSelector('#user');
  check((await page.textContent('#user')).includes(user), 'the page is signed in as its user');
  await page.evaluate(BUILD);
  await page.fill('#text', 'typed');
  await page.type('#text', ' more');
  check((await page.inputValue('#text')) === 'typed more', 'typed text');
  await page.click('#press');
  check((await page.textContent('#press')) === 'pressed 1', 'a click');
  await page.selectOption('#choice', 'b');
  check((await page.inputValue('#choice')) === 'b', 'a selection');
  await page.setInputFiles('#file', file);
  const uploaded = await page.evaluate(() => document.querySelector('#file').files[0].text());
  check(uploaded === fs.readFileSync(file, 'utf8'), 'an upload');
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#down')]);
  check(download.suggestedFilename() === 'report.txt', 'the name of a download');
  check(fs.readFileSync(await download.path(), 'utf8') === 'hello download', 'a download');
  const [popup] = await Promise.all([page.waitForEvent('popup'), page.click('#popup')]);
  await popup.waitForLoadState();
  check(popup.url().endsWith('/appointments'), 'a popup');
  await popup.close();
  page.once('dialog', (dialog) => dialog.accept());
  await page.click('#ask');
  check((await page.textContent('#ask')) === 'asked true', 'a dialog');
  check((await page.frameLocator('#frame').locator('#inner').textContent()) === 'within', 'a frame');
  const tab = await context.newPage();
  await tab.goto(new URL('/appointments', page.url()).href);
  check(context.pages().length === 2, 'a new tab');
  await tab.close();
  check((await page.screenshot()).length > 1000, 'a screenshot');
  check((await page.pdf()).subarray(0, 4).toString() === '%PDF', 'a PDF');
  const cookies = await context.cookies();
  check(cookies.length > 0, 'cookies');
  await context.addCookies([{ name: 'mine', value: user, url: page.url() }]);
  check((await context.cookies()).some((cookie) => cookie.value === user), 'a cookie of our own');

  // A context of our own goes with us, and is not signed in.
  const own = await browser.newContext();
  await own.addInitScript(() => { window.initiated = true; });
  const alone = await own.newPage();
  await alone.goto(page.url());
  check(await alone.evaluate(() => window.initiated), 'a script before the page');
  check((await alone.$('#user')) === null, 'a context of our own is not signed in');
  await page.evaluate((user) => { window.kept = user; }, user);
  await browser.close();

  browser = await connect();
  check(browser.contexts().length === 1, 'our own context is gone');
  const [again] = browser.contexts()[0].pages();
  check(browser.contexts()[0].pages().length === 1, 'one page is left');
  check((await again.evaluate(() => window.kept)) === user, 'the same page with its state');
  check((await again.textContent('#press')) === 'pressed 1', 'the same document');
  await browser.close();
}

run(work);
