// Selenium for JavaScript, through WebDriver: node selenium.js SERVER_URL SESSION_ID USER FILE
// SERVER_URL carries the token as a password: http://pilotlight:TOKEN@127.0.0.1:7070
const fs = require('node:fs');
const { Builder, By, until } = require('selenium-webdriver');
const remote = require('selenium-webdriver/remote');
const { Select } = require('selenium-webdriver/lib/select');
const { BUILD, check, run } = require('./workshop');

const [serverUrl, sessionId, user, file] = process.argv.slice(2);

async function connect() {
  const capabilities = { browserName: 'chrome', 'pilotlight:options': { session_id: sessionId } };
  const driver = await new Builder().usingServer(serverUrl).withCapabilities(capabilities).build();
  return driver;
}

async function downloads() {
  const url = new URL(serverUrl);
  const authorization = `Basic ${Buffer.from(`${url.username}:${url.password}`).toString('base64')}`;
  const answer = await fetch(`${url.origin}/sessions/${sessionId}/files`, { headers: { authorization } });
  return (await answer.json()).files.map((file) => file.name);
}

async function work() {
  let driver = await connect();
  const find = (selector) => driver.findElement(By.css(selector));
  const [first, ...more] = await driver.getAllWindowHandles();
  check(more.length === 0, 'one page');
  await driver.wait(until.elementLocated(By.css('#user')), 30000);
  check((await find('#user').getText()).includes(user), 'the page is signed in as its user');
  await driver.executeScript(BUILD);
  await find('#text').sendKeys('typed more');
  check((await find('#text').getProperty('value')) === 'typed more', 'typed text');
  await find('#press').click();
  check((await find('#press').getText()) === 'pressed 1', 'a click');
  await new Select(find('#choice')).selectByValue('b');
  check((await find('#choice').getProperty('value')) === 'b', 'a selection');
  driver.setFileDetector(new remote.FileDetector());
  await find('#file').sendKeys(file);
  const uploaded = await driver.executeScript("return document.querySelector('#file').files[0].text()");
  check(uploaded === fs.readFileSync(file, 'utf8'), 'an upload');
  await find('#down').click();
  await driver.wait(async () => (await downloads()).includes('report.txt'), 30000, 'a download');
  await find('#popup').click();
  await driver.wait(async () => (await driver.getAllWindowHandles()).length === 2, 30000, 'a popup');
  await driver.switchTo().window((await driver.getAllWindowHandles()).find((handle) => handle !== first));
  await driver.wait(until.urlContains('/appointments'), 30000);
  await driver.close();
  await driver.switchTo().window(first);
  await find('#ask').click();
  await driver.switchTo().alert().accept();
  check((await find('#ask').getText()) === 'asked true', 'a dialog');
  await driver.switchTo().frame(find('#frame'));
  check((await find('#inner').getText()) === 'within', 'a frame');
  await driver.switchTo().defaultContent();
  const home = await driver.getCurrentUrl();
  await driver.switchTo().newWindow('tab');
  await driver.get(new URL('/appointments', home).href);
  check((await driver.getAllWindowHandles()).length === 2, 'a new tab');
  await driver.close();
  await driver.switchTo().window(first);
  check((await driver.takeScreenshot()).length > 1000, 'a screenshot');
  check(Buffer.from(await driver.printPage(), 'base64').subarray(0, 4).toString() === '%PDF', 'a PDF');
  check((await driver.manage().getCookies()).length > 0, 'cookies');
  await driver.manage().addCookie({ name: 'mine', value: user });
  check((await driver.manage().getCookie('mine')).value === user, 'a cookie of our own');
  await driver.executeScript('window.kept = arguments[0]', user);
  await driver.quit();

  driver = await connect();
  check((await driver.getAllWindowHandles()).join() === first, 'one page is left, the same');
  check((await driver.executeScript('return window.kept')) === user, 'the same page with its state');
  check((await driver.findElement(By.css('#press')).getText()) === 'pressed 1', 'the same document');
  await driver.quit();
}

run(work);
