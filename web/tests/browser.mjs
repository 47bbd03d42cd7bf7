// A browser for people who look at the dashboard, and what the tests look for.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const BROWSERS = [
  process.env.PILOTLIGHT_TEST_BROWSER,
  "/usr/lib/chromium/chromium-headless-shell",
  "/usr/bin/google-chrome-stable",
  "/usr/bin/google-chrome",
  "/usr/bin/chromium",
];
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const { PILOTLIGHT_URL: url, PILOTLIGHT_LINK: link, PORTAL_URL: portal } = process.env;

/** The browser. It shows pages of ours alone, so it may run where no sandbox is to be had. */
export function launch() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  assert.ok(executablePath, "no browser is here: PILOTLIGHT_TEST_BROWSER names one");
  return chromium.launch({ executablePath, chromiumSandbox: false });
}

/** A page whose every complaint is kept. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    const text = message.text();
    // A server that restarts is away for a moment; that is said of every request that it misses.
    if (message.type() === "error" && !text.startsWith("Failed to load resource")) page.complaints.push(text);
  });
  return page;
}

/** Asserts that axe finds nothing serious, in both themes. */
export async function accessible(page, what) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    // By the protocol, past the page's own policy for scripts.
    if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => window.axe.run());
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    const told = serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
    assert.deepEqual(told, [], `${what} in ${colorScheme}`);
  }
}

/** Asserts that nothing hangs out of the page on the right. */
export async function fits(page, what, width) {
  await page.setViewportSize({ width, height: 800 });
  const overhang = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overhang <= 0, `${what} is ${overhang} px wider than ${width} px`);
}

/** Asks the server for something as the page does, which shows the key that it keeps. */
export function askAs(page, method, path, body) {
  return page.evaluate(async ([method, path, body]) => {
    const headers = { authorization: `Bearer ${localStorage.getItem("pilotlight-key")}` };
    if (body) headers["content-type"] = "application/json";
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    return { status: answer.status, ...(await answer.json()) };
  }, [method, path, body]);
}

/** Has the test outside do something to the server, and waits until it is done. */
export async function outside(what) {
  const lines = createInterface({ input: process.stdin });
  console.log(`@ ${what}`);
  await new Promise((resolve) => lines.once("line", resolve));
  lines.close();
}
