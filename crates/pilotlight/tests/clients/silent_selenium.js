// Selenium sends nothing for a while: node silent_selenium.js SERVER_URL SESSION_ID SECONDS
const { Builder, By } = require('selenium-webdriver');
const { check, run, silence } = require('./workshop');

const [serverUrl, sessionId, seconds] = process.argv.slice(2);

async function work() {
  const capabilities = { browserName: 'chrome', 'pilotlight:options': { session_id: sessionId } };
  const driver = await new Builder().usingServer(serverUrl).withCapabilities(capabilities).build();
  await driver.executeScript(`globalThis.kept = { since: 'before' };
    document.body.insertAdjacentHTML('beforeend', '<input id="half">');`);
  const half = await driver.findElement(By.id('half'));
  await half.sendKeys('half a sen');
  await silence(seconds, () => driver.executeScript('return globalThis.kept.since'), 'before');
  check((await half.getAttribute('value')) === 'half a sen', 'the half-filled form');
  check((await driver.getAllWindowHandles()).length === 1, 'its page is the only one');
  await driver.quit();
}

run(work);
