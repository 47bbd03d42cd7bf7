// Selenium closes its only window: node last_page_selenium.js SERVER_URL SESSION_ID PAGE
const { Builder } = require('selenium-webdriver');
const { check, run } = require('./workshop');

const [serverUrl, sessionId, page] = process.argv.slice(2);

async function connect() {
  const capabilities = { browserName: 'chrome', 'pilotlight:options': { session_id: sessionId } };
  return new Builder().usingServer(serverUrl).withCapabilities(capabilities).build();
}

async function work() {
  let driver = await connect();
  await driver.get(page);
  await driver.executeScript("document.cookie = 'fresh=1; path=/'; localStorage.fresh = 'kept'");
  await driver.close();
  // With chromedriver alone the session is over by then; where it is not, it may be ended.
  await driver.quit().catch(() => {});

  driver = await connect();
  await driver.get(page);
  check((await driver.manage().getCookies()).some((cookie) => cookie.name === 'fresh'), 'the cookie of a moment ago');
  check((await driver.executeScript('return localStorage.fresh')) === 'kept', 'what was stored a moment ago');
  check((await driver.getAllWindowHandles()).length === 1, 'one page is there for the next client');
  await driver.quit();
}

run(work);
