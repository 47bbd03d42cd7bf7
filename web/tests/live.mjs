// The live view: two people look into a window, and one of them steers it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { accessible, askAs, fits, launch, link, open, outside, url } from "./browser.mjs";

const PAGE = `<!doctype html><title>A desk</title><style>body{margin:0;font:20px sans-serif}
  #press{position:absolute;left:20px;top:20px;width:200px;height:60px}
  #field{position:absolute;left:20px;top:100px;width:300px;height:40px}
  #list{position:absolute;left:20px;top:160px;width:200px;height:40px}
  #ask{position:absolute;left:20px;top:220px;width:200px;height:60px}
  #pop{position:absolute;left:20px;top:300px;width:200px;height:60px}
  #tall{height:3000px}</style>
  <button id="press" onclick="window.pressed=(window.pressed||0)+1;this.textContent='pressed '+window.pressed">press</button>
  <input id="field"><select id="list" onchange="window.picked=this.value"><option>red<option>green<option>blue</select>
  <button id="ask" onclick="window.answer=prompt('Which colour?','red')">ask</button>
  <button id="pop" onclick="window.open('/other')">pop</button><div id="tall"></div>`;
const desk = createServer((request, response) => {
  response.setHeader("content-type", "text/html");
  response.end(request.url === "/other" ? "<!doctype html><title>Another</title>another" : PAGE);
});
await new Promise((resolve) => desk.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${desk.address().port}/`;

const browser = await launch();
const page = await open(browser);
await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
await page.goto(link);
await page.getByRole("heading", { name: "Sessions" }).waitFor();
const ask = (method, path, body) => askAs(page, method, path, body);
const { session_id: id } = await ask("POST", "/sessions", { name: "desk", url: address, viewport: { width: 800, height: 600 } });
const inPage = async (expression) => (await ask("POST", `/sessions/${id}/evaluate`, { expression })).result;
/** Waits until an expression of the page is as wanted. */
const becomes = async (expression, wanted) => {
  for (const end = Date.now() + 20_000; ;) {
    const seen = await inPage(expression);
    if (JSON.stringify(seen) === JSON.stringify(wanted)) return;
    assert.ok(Date.now() < end, `${expression} is ${JSON.stringify(seen)} and not ${JSON.stringify(wanted)}`);
  }
};

await page.goto(`${url}/ui/sessions/${id}`);
const pictured = async (viewer) => viewer.waitForFunction(() => Number(document.querySelector("canvas")?.dataset.number) > 0);
await pictured(page);
const other = await page.context().newPage();
await other.goto(`${url}/ui/sessions/${id}`);
await pictured(other);
await page.getByText("2 viewers").waitFor();

// The picture is the page's: the canvas has the viewport's shape, and a click lands where it is seen.
const at = async (x, y, viewer = page) => {
  const box = await viewer.locator("canvas").boundingBox();
  return [box.x + (x / 800) * box.width, box.y + (y / 600) * box.height];
};
const shape = await page.locator("canvas").evaluate((view) => view.width / view.height);
assert.ok(Math.abs(shape - 800 / 600) < 0.02, `the picture's shape is ${shape}`);
const before = await other.locator("canvas").getAttribute("data-number");
await page.mouse.click(...(await at(120, 50)));
await becomes("window.pressed", 1);
// The other viewer sees it, too, and may steer as well.
await other.waitForFunction((before) => Number(document.querySelector("canvas").dataset.number) > Number(before), before);
await other.bringToFront();
await other.mouse.click(...(await at(120, 50, other)));
await becomes("window.pressed", 2);
await page.bringToFront();

// Keys, text from the clipboard, and what is selected back into it.
await page.mouse.click(...(await at(100, 120)));
await page.keyboard.type("Hello, 4 wörlds");
await page.keyboard.press("Backspace");
await becomes("document.querySelector('#field').value", "Hello, 4 wörld");
await page.evaluate(() => navigator.clipboard.writeText(" from here"));
await page.keyboard.press("Control+V");
await becomes("document.querySelector('#field').value", "Hello, 4 wörld from here");
await page.keyboard.press("Control+A");
await page.keyboard.press("Control+C");
await page.getByText("Copied.").waitFor();
assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "Hello, 4 wörld from here");

// Wheel, select lists, dialogs.
await page.mouse.move(...(await at(500, 400)));
await page.mouse.wheel(0, 300);
await becomes("scrollY > 0", true);
await page.mouse.wheel(0, -300);
await becomes("scrollY", 0);
await page.mouse.click(...(await at(100, 180)));
await page.getByRole("dialog", { name: "Select list" }).getByRole("listbox").selectOption("blue");
await becomes("window.picked", "blue");
await page.mouse.click(...(await at(100, 250)));
const question = page.getByRole("alertdialog", { name: "Dialog of the page" });
await question.getByText("Which colour?").waitFor();
await other.getByRole("alertdialog").waitFor();
await accessible(page, "a dialog of the page");
await question.getByLabel("Answer").fill("violet");
await question.getByRole("button", { name: "OK" }).click();
await question.waitFor({ state: "detached" });
await becomes("window.answer", "violet");

// Tabs: a popup comes to the front, is closed, another is opened.
const tabs = page.getByRole("list", { name: "Tabs" });
await page.mouse.click(...(await at(100, 330)));
await tabs.getByRole("button", { name: "Another", exact: true }).and(page.locator("[aria-pressed=true]")).waitFor();
await tabs.getByRole("button", { name: "A desk", exact: true }).click();
await tabs.getByRole("button", { name: "A desk", exact: true }).and(page.locator("[aria-pressed=true]")).waitFor();
await tabs.getByRole("button", { name: "Close tab Another" }).click();
await tabs.getByRole("button", { name: "Another", exact: true }).waitFor({ state: "detached" });

// The address line, and back.
await page.getByLabel("Address").fill(`${address}other`);
await page.keyboard.press("Enter");
await becomes("location.pathname", "/other");
await page.getByRole("button", { name: "Back" }).click();
await becomes("location.pathname", "/");
await page.getByRole("button", { name: "Forward" }).click();
await becomes("location.pathname", "/other");
await page.getByRole("button", { name: "Back" }).click();
await becomes("location.pathname", "/");
await inPage("window.stays = true");
await page.getByRole("button", { name: "Reload" }).click();
await becomes("[document.readyState, window.stays ?? null]", ["complete", null]);

// A tab of one's own.
await page.getByRole("button", { name: "New tab" }).click();
await tabs.getByRole("button", { name: "about:blank", exact: true }).and(page.locator("[aria-pressed=true]")).waitFor();
await page.getByLabel("Address").fill(`${address}other`);
await page.keyboard.press("Enter");
await tabs.getByRole("button", { name: "Another", exact: true }).and(page.locator("[aria-pressed=true]")).waitFor();
await tabs.getByRole("button", { name: "Close tab Another" }).click();
await tabs.getByRole("button", { name: "A desk", exact: true }).and(page.locator("[aria-pressed=true]")).waitFor();

// The server goes and comes again: the view goes on by itself, and hands reach the page.
await inPage("window.pressed = 0");
await outside("restart");
await page.getByText("2 viewers").waitFor();
for (const end = Date.now() + 20_000; (await inPage("window.pressed")) === 0; ) {
  // The picture of before is still there until the first new one comes.
  await page.mouse.click(...(await at(120, 50)));
  assert.ok(Date.now() < end, "no click reaches the page");
}
await page.getByText("2 viewers").waitFor();
await page.getByLabel("Address").fill("file:///etc/passwd");
await page.keyboard.press("Enter");
await page.getByText(/http/i).filter({ hasText: /only|URL/i }).first().waitFor();

// Taking over is a hold that keeps others out, until it is given back.
await page.getByRole("button", { name: "Take over" }).click();
await page.getByText("until you release it").waitFor();
await page.getByText("dashboard, exclusive, until").waitFor();
assert.equal((await ask("POST", `/sessions/${id}/hold`, { ttl: 5 })).code, "session_in_use");
await page.getByRole("button", { name: "Release" }).click();
await page.getByText("The session was released").waitFor();
for (const end = Date.now() + 10_000; ;) {
  const taken = await ask("POST", `/sessions/${id}/hold`, { ttl: 5 });
  if (taken.status === 201) break;
  assert.ok(Date.now() < end, "it is still held");
}

await accessible(page, "live view");
for (const width of [360, 2560]) await fits(page, "live view", width);

// A finger.
const phone = await open(browser, { hasTouch: true, storageState: await page.context().storageState() });
await phone.goto(`${url}/ui/sessions/${id}`);
await pictured(phone);
await inPage("document.addEventListener('touchstart', () => { window.touched = true })");
await phone.locator("canvas").scrollIntoViewIfNeeded();
await phone.touchscreen.tap(...(await at(500, 100, phone)));
await becomes("window.touched", true);
await phone.context().close();

// Nobody looks any more: the others see that.
await other.close();
await page.getByText("1 viewer").waitFor();
assert.deepEqual(page.complaints, []);
await browser.close();
desk.close();
console.log("done");
