// Operations: a form made of what one needs, one that stops and goes on, what came of it, and giving one up.

import assert from "node:assert/strict";
import { accessible, fits, launch, link, open, outside, url } from "./browser.mjs";

const browser = await launch();
const page = await open(browser);
await page.goto(link);
await page.getByRole("link", { name: "ada" }).first().click();
const begin = page.getByRole("region", { name: "Run an operation" });
await begin.getByRole("combobox", { name: "Operation", exact: true }).selectOption("make_appointment");
const form = begin.getByRole("form", { name: "Run make appointment" });
await form.getByLabel("terminal").fill("Pier T");
await form.getByLabel("container").fill("MSKU4822107");
await form.getByLabel("time").fill("07:30");
assert.equal(await form.getByLabel("own chassis (optional)").inputValue(), "false", "as it is without a word");
await form.getByLabel("own chassis (optional)").selectOption("yes");
await form.getByRole("button", { name: "Run" }).click();

const operations = page.getByRole("list", { name: "Operations of this session" }).locator(":scope > li");
const first = operations.last();
await first.getByText("Needs input").waitFor();
await first.getByText("Phase 2 of 3").waitFor();
await page.getByText(/, in use now/).waitFor();
// Whoever looks from elsewhere sees the same, and a server that was killed has it still.
await outside("restart");
await page.getByText("live", { exact: true }).waitFor();
await first.getByText("Needs input").waitFor();
// A second one is refused, and says why.
await form.getByRole("button", { name: "Run" }).click();
await page.getByText(/Another operation of the session has not ended/).waitFor();
await accessible(page, "an operation that waits");

const more = first.getByRole("form", { name: "Continue make appointment" });
await more.getByLabel("truck plate").fill("B-HG 77");
await more.getByRole("button", { name: "Continue" }).click();
await first.getByText("✓ Done").waitFor();
await first.getByText(/HG-\d+/).first().waitFor();
await first.getByRole("columnheader", { name: "Field" }).waitFor();
await first.getByRole("cell", { name: "B-HG 77" }).waitFor();
const pictures = first.getByText(/^\d+ screenshots$/);
assert.ok(Number.parseInt(await pictures.textContent(), 10) >= 20);
await pictures.click();
const picture = first.getByAltText("The page after step 1.1", { exact: true });
await picture.scrollIntoViewIfNeeded();
for (const end = Date.now() + 20_000; !(await picture.evaluate((image) => image.naturalWidth > 100)); )
  assert.ok(Date.now() < end, "the picture does not come");
const [shown] = await Promise.all([page.context().waitForEvent("page"), picture.click()]);
await shown.waitForURL(/^blob:/);
await shown.close();
const [pass] = await Promise.all([page.waitForEvent("download"), first.getByRole("link", { name: /HG-.*txt|pass/i }).click()]);
assert.equal(await pass.failure(), null);
const [bundle] = await Promise.all([page.waitForEvent("download"), first.getByRole("link", { name: "Download all as ZIP" }).click()]);
assert.equal(await bundle.failure(), null);
await accessible(page, "an operation that is done");
for (const width of [360, 2560]) await fits(page, "operations", width);
await page.setViewportSize({ width: 1280, height: 800 });

// One that waits is found from the site, too; and one that is given up leaves the session.
await form.getByRole("button", { name: "Run" }).click();
await operations.first().getByText("Needs input").waitFor();
await page.getByRole("link", { name: "Sites" }).click();
await page.getByRole("link", { name: "make_appointment waits" }).click();
await operations.first().getByText("Needs input").waitFor();
await operations.first().getByRole("button", { name: "Cancel operation" }).click();
await page.getByRole("dialog").getByRole("button", { name: "Cancel operation" }).click();
await operations.first().getByText("× Cancelled").waitFor();
assert.equal(await operations.count(), 2);

await page.getByRole("link", { name: "Sites" }).click();
const site = page.getByRole("region", { name: "portal" });
await site.getByText("terminal, container, truck_plate, time; optional own_chassis").waitFor();
await accessible(page, "sites");
assert.deepEqual(page.complaints, []);
await browser.close();
console.log(`operations seen at ${url}`);
