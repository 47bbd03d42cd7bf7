// Pictures of the dashboard for the documents, in both themes, from the demo that `scripts/screenshots` has started.

import { askAs, launch, link, open } from "./browser.mjs";

/** The charts of the machine show nothing before there are some samples. */
const SAMPLES = 6;

const folder = process.argv[2];
const browser = await launch();
const page = await open(browser, { viewport: { width: 1280, height: 860 }, reducedMotion: "reduce" });
await page.goto(link);
const card = (name) => page.getByRole("listitem").filter({ has: page.getByRole("link", { name, exact: true }) });
const ask = (method, path, body) => askAs(page, method, path, body);
const picture = async (name) => {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.mouse.move(0, 0);
    await page.screenshot({ path: `${folder}/${name}-${colorScheme}.png` });
  }
};

// One of everything that a session can be.
await card("demo-6").getByText("Ready").waitFor();
const { sessions } = await ask("GET", "/sessions");
const at = (name, below) => `/sessions/${sessions.find((session) => session.name === name).session_id}${below}`;
await ask("POST", at("demo-1", "/operations"), { operation: "make_appointment", inputs: { terminal: "Pier T", container: "MSKU4822107", time: "07:30" } });
for (const card of await page.getByRole("listitem").filter({ has: page.getByRole("link", { name: /^demo-/ }) }).all()) await card.locator("img").waitFor();
await ask("POST", at("demo-4", "/freeze"));
await ask("POST", at("demo-5", "/hibernate"));
await card("demo-4").getByText("Frozen").waitFor();
await card("demo-5").getByText("Hibernated").waitFor();
await picture("overview");

await page.getByRole("link", { name: "demo-1", exact: true }).click();
await page.getByText("? Needs input").waitFor();
await page.waitForFunction(() => Number(document.querySelector("canvas")?.dataset.number) > 0);
await page.setViewportSize({ width: 1280, height: 1720 });
await page.evaluate(() => scrollTo(0, 0));
await picture("session");

await page.setViewportSize({ width: 1280, height: 1240 });
for (let samples = 0; samples < SAMPLES; samples = (await ask("GET", "/machine")).samples.length) await page.waitForTimeout(1000);
await page.getByRole("link", { name: "Machine" }).click();
await page.getByRole("row", { name: /^All browsers/ }).waitFor();
await picture("machine");
await browser.close();
