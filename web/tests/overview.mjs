// Signing in, the overview and its actions, the other pages, a restart of the server, signing out.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { accessible, fits, launch, link, open, outside, url } from "./browser.mjs";

const browser = await launch();
const page = await open(browser);

// Without a key there is nothing to see, and no password box of the browser's own.
await page.goto(`${url}/ui`);
await page.getByRole("button", { name: "Sign in" }).waitFor();
await accessible(page, "sign-in");
await page.getByLabel("Code or token").fill("wrong");
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByText("wrong, has already been used, or has expired").waitFor();

// The link works once; its code leaves the address, and nothing is kept that goes to other ports of the host.
await page.goto("about:blank");
await page.goto(link);
const card = (name) => page.getByRole("listitem").filter({ has: page.getByRole("link", { name, exact: true }) });
await card("one").getByText("Ready").waitFor();
assert.equal(new URL(page.url()).hash, "");
assert.equal(await page.evaluate(() => document.cookie), "");
assert.deepEqual(await page.context().cookies(), []);
const key = await page.evaluate(() => localStorage.getItem("pilotlight-key"));
assert.match(key, /^[0-9a-f]{64}$/);
const second = await open(browser);
await second.goto(link);
await second.getByText("wrong, has already been used, or has expired").waitFor();
await second.context().close();

// The policy holds: nothing inline runs.
await page.evaluate(() => {
  const script = document.createElement("script");
  script.textContent = "window.inlineRan = true";
  document.body.append(script);
});
assert.equal(await page.evaluate(() => "inlineRan" in window), false);
assert.ok(page.complaints.splice(0).some((complaint) => complaint.includes("Content Security Policy")));

// Pictures of pages.
await card("one").locator("img").waitFor();
assert.ok(await card("one").locator("img").evaluate((image) => image.naturalWidth > 100));

// Search, filter, sort, rows, and that the choice is remembered.
await page.getByLabel("Search").fill("two");
await card("one").waitFor({ state: "detached" });
await page.getByLabel("Search").fill("");
await page.getByRole("combobox", { name: "Site", exact: true }).selectOption("portal");
await card("two").waitFor({ state: "detached" });
await page.getByRole("combobox", { name: "Site", exact: true }).selectOption("");
await page.getByRole("combobox", { name: "Sort", exact: true }).selectOption("memory");
await page.getByRole("button", { name: "Rows" }).click();
await page.reload();
await page.getByRole("rowheader", { name: "one", exact: true }).waitFor();
assert.equal(await page.getByRole("combobox", { name: "Sort", exact: true }).inputValue(), "memory");
await accessible(page, "overview as rows");
for (const width of [360, 2560]) await fits(page, "overview as rows", width);
await page.getByRole("button", { name: "Rows" }).click();
await page.getByRole("combobox", { name: "Sort", exact: true }).selectOption("name");
await accessible(page, "overview as cards");
for (const width of [360, 2560]) await fits(page, "overview as cards", width);
await page.setViewportSize({ width: 1280, height: 800 });

// Many are chosen and acted on; the cards follow by themselves.
const act = (name) => page.getByRole("group", { name: "Actions for selected sessions" }).getByRole("button", { name, exact: true }).click();
await page.getByLabel("Select all").check();
await act("Ping");
await page.getByText("3 pinged").waitFor();
await page.getByLabel("Select all").uncheck();
await page.getByLabel("Select two").check();
await act("Hibernate");
await card("two").getByText("Hibernated").waitFor();
await card("two").getByText("no window").waitFor();
await act("Wake");
await card("two").getByText("Ready").waitFor();
await act("Pin");
await card("two").getByText("pinned").waitFor();
await act("Unpin");
await card("two").getByText("pinned").waitFor({ state: "detached" });
await page.getByLabel("Select two").uncheck();
await page.getByLabel("Select one").check();
await act("Refresh");
await page.getByText("1 refreshed").waitFor();
if (await page.getByRole("button", { name: "Freeze" }).count()) {
  await act("Freeze");
  await card("one").getByText("Frozen").waitFor();
  await act("Wake");
  await card("one").getByText("Ready").waitFor();
}
await page.getByLabel("Select one").uncheck();

// By the keyboard alone: choose, be asked, change one's mind, then close.
await page.getByLabel("Select three").focus();
await page.keyboard.press("Space");
const close = page.getByRole("button", { name: "Close", exact: true });
for (let tabs = 0; tabs < 40 && !(await close.first().evaluate((it) => it === document.activeElement)); tabs += 1)
  await page.keyboard.press("Shift+Tab");
await page.keyboard.press("Enter");
await page.getByRole("dialog").waitFor();
await accessible(page, "question");
await page.keyboard.press("Escape");
await page.getByRole("dialog").waitFor({ state: "detached" });
await card("three").waitFor();
await page.keyboard.press("Enter");
await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
await card("three").waitFor({ state: "detached" });

// A new session of somebody else's shows up unasked.
await outside("create four");
await card("four").getByText("Ready").waitFor();

// The session's page: what it is, what happened, how it is treated.
await page.getByRole("link", { name: "two", exact: true }).click();
await page.getByRole("heading", { name: "two" }).waitFor();
await page.getByRole("region", { name: "Events" }).getByText("hibernating").first().waitFor();
await page.getByLabel("Refresh interval").fill("77");
await page.getByRole("button", { name: "Change policy" }).click();
await page.getByText("The policy was changed").waitFor();
await page.reload();
await page.getByLabel("Refresh interval").waitFor();
assert.equal(await page.getByLabel("Refresh interval").inputValue(), "77");
const id = new URL(page.url()).pathname.split("/").pop();
for (const way of ["curl", "Playwright", "Puppeteer", "Selenium"])
  assert.ok((await page.getByRole("region", { name: `Code for ${way}` }).innerText()).includes(id), way);
await accessible(page, "session");
for (const width of [360, 2560]) await fits(page, "session", width);

// The machine and the sites.
await page.getByRole("link", { name: "Machine" }).click();
await page.getByRole("img", { name: /Sessions by state: now live \d/ }).waitFor();
await page.getByRole("rowheader", { name: /^s\d+$/ }).first().waitFor();
await page.getByRole("img", { name: /Memory: now all browsers [\d.]+ .iB, .*budget [\d.]+ .iB/ }).waitFor();
const held = (row) => page.getByRole("row", { name: new RegExp(`^${row} .*[1-9].* [KMG]iB$`) });
for (const row of ["Live windows", "All browsers", "Server and shims"]) await held(row).waitFor();
await page.getByRole("meter", { name: "Used part of the memory budget" }).waitFor();
await page.getByText(/^Present: browser/).waitFor();
await accessible(page, "machine");
for (const width of [360, 2560]) await fits(page, "machine", width);
await page.getByRole("link", { name: "Sites" }).click();
await page.getByRole("img", { name: /sign-ins and refreshes succeeded/ }).first().waitFor();
await accessible(page, "sites");
for (const width of [360, 2560]) await fits(page, "sites", width);
await page.getByRole("link", { name: "Sessions" }).click();

// The server goes and comes again: the page says so, goes on, and nobody has to sign in anew.
await outside("restart");
await page.getByRole("status").filter({ hasText: /^live$/ }).waitFor();
await card("one").getByText("Ready").waitFor();
await page.getByLabel("Select one").check();
await act("Ping");
await page.getByText("1 pinged").waitFor();

// Another service of the host fills the browser with cookies, which it shares with all ports: one stays signed in.
const neighbour = createServer((request, response) => response.end("a neighbour"));
await new Promise((resolve) => neighbour.listen(0, new URL(url).hostname, resolve));
const tab = await page.context().newPage();
await tab.goto(`http://${new URL(url).hostname}:${neighbour.address().port}/`);
await tab.evaluate(() => {
  for (let number = 0; number < 300; number += 1) document.cookie = `junk${number}=${"x".repeat(4000)}; path=/`;
});
// What a request would carry; the browser gives up some of them for others.
await tab.waitForFunction(() => document.cookie.length > 100 * 4000);
await tab.goto(`${url}/ui`);
await tab.getByRole("heading", { name: "Sessions" }).waitFor();
await tab.getByRole("link", { name: "one", exact: true }).first().click();
await tab.waitForFunction(() => Number(document.querySelector("canvas")?.dataset.number) > 0);
await tab.close();
neighbour.closeAllConnections();
neighbour.close();

// Out, and the key is worth nothing any more.
await page.getByRole("button", { name: "Sign out" }).click();
await page.getByRole("button", { name: "Sign in" }).waitFor();
assert.equal(await page.evaluate(() => localStorage.getItem("pilotlight-key")), null);
const stale = await fetch(`${url}/sessions`, { headers: { authorization: `Bearer ${key}` } });
assert.equal(stale.status, 401);
assert.deepEqual(page.complaints, []);
await browser.close();
console.log("done");
