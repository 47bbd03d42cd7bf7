// Puppeteer, by `connect`: node puppeteer.js CDP_URL TOKEN USER FILE DOWNLOADS
const fs = require('node:fs');
const path = require('node:path');
const puppeteer = require('puppeteer-core');
const { BUILD, check, run } = require('./workshop');

const [cdpUrl, token, user, file, downloads] = process.argv.slice(2);

async function connect() {
  const browser = await puppeteer.connect({ browserWSEndpoint: cdpUrl, headers: { Authorization: `Bearer ${token}` }, defaultViewport: null });
  return browser;
}

async function work() {
  let browser = await connect();
  let pages = await browser.pages();
  check(pages.length === 1, 'one page');
  const [page] = pages;
  await page.waitForSelector('#user');
  check((await page.$eval('#user', (user) => user.textContent)).includes(user), 'the page is signed in as its user');
  await page.evaluate(BUILD);
  await page.type('#text', 'typed more');
  check((await page.$eval('#text', (text) => text.value)) === 'typed more', 'typed text');
  await page.click('#press');
  check((await page.$eval('#press', (button) => button.textContent)) === 'pressed 1', 'a click');
  await page.select('#choice', 'b');
  check((await page.$eval('#choice', (choice) => choice.value)) === 'b', 'a selection');
  await (await page.$('#file')).uploadFile(file);
  const uploaded = await page.$eval('#file', (input) => input.files[0].text());
  check(uploaded === fs.readFileSync(file, 'utf8'), 'an upload');
  const sessionUrl = cdpUrl.replace('ws:', 'http:').replace('/devtools/browser', '');
  const body = fs.readFileSync(file);
  const sent = await fetch(`${sessionUrl}/files/sent.txt`, { method: 'PUT', headers: { Authorization: `Bearer ${token}` }, body });
  await (await page.$('#file')).uploadFile((await sent.json()).path);
  check((await page.$eval('#file', (input) => input.files[0].name)) === 'sent.txt', 'an upload of what was sent');
  const client = await page.createCDPSession();
  await client.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads, eventsEnabled: true });
  const finished = new Promise((resolve) => {
    client.on('Browser.downloadProgress', (progress) => progress.state === 'completed' && resolve());
  });
  await page.click('#down');
  await finished;
  check(fs.readFileSync(path.join(downloads, 'report.txt'), 'utf8') === 'hello download', 'a download');
  const opened = new Promise((resolve) => page.once('popup', resolve));
  await page.click('#popup');
  const popup = await opened;
  await popup.waitForFunction(() => location.pathname === '/appointments');
  await popup.close();
  page.once('dialog', (dialog) => dialog.accept());
  await page.click('#ask');
  check((await page.$eval('#ask', (button) => button.textContent)) === 'asked true', 'a dialog');
  const frame = await (await page.$('#frame')).contentFrame();
  check((await frame.$eval('#inner', (inner) => inner.textContent)) === 'within', 'a frame');
  const tab = await browser.newPage();
  await tab.goto(new URL('/appointments', page.url()).href);
  check((await browser.pages()).length === 2, 'a new tab');
  await tab.close();
  check((await page.screenshot()).length > 1000, 'a screenshot');
  check(Buffer.from(await page.pdf()).subarray(0, 4).toString() === '%PDF', 'a PDF');
  check((await browser.cookies()).length > 0, 'cookies');
  await browser.setCookie({ name: 'mine', value: user, domain: new URL(page.url()).hostname });
  check((await browser.cookies()).some((cookie) => cookie.value === user), 'a cookie of our own');
  const own = await browser.createBrowserContext();
  const alone = await own.newPage();
  await alone.goto(page.url());
  check((await alone.$('#user')) === null, 'a context of our own is not signed in');
  await page.evaluate((user) => { window.kept = user; }, user);
  await browser.close(); // which detaches, and no more

  browser = await connect();
  pages = await browser.pages();
  check(pages.length === 1 && browser.browserContexts().length === 1, 'one page is left');
  check((await pages[0].evaluate(() => window.kept)) === user, 'the same page with its state');
  await browser.disconnect();
}

run(work);
