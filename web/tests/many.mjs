// Five hundred sessions on a simulated server: how long the page works for one change of one session, on average.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { launch, open } from "./browser.mjs";

const SESSIONS = 500;
const UPDATES = 100;
/** Longer than the page collects changes for, so that each is drawn by itself. */
const UPDATE_EVERY_MS = 200;
/** A picture of the screen is due this often. */
const BUDGET_MS = 16;

const now = () => new Date().toISOString();
const states = ["ready", "ready", "ready", "frozen", "hibernated"];
const sessions = Array.from({ length: SESSIONS }, (_, index) => ({
  session_id: `0198c1c2-0000-7000-8000-${String(index).padStart(12, "0")}`, name: `session ${index}`, site: `site-${index % 7}`,
  username: `user-${index}`, state: states[index % states.length], in_use: false, holds: [], clients: [], keep_alive: true, never_terminate: index % 50 === 0,
  created_at: now(), last_used: now(), last_refresh: now(), sign_in: { status: "signed_in", checked_at: now(), how: "refresh" }, signed_in_at: now(), next_refresh: now(), refresh_interval: 300,
  idle_timeout: 1800, checkpoint_at: now(), expires_at: null, url: `https://portal.example/${index}`, title: `Page ${index}`, tabs: 1,
  profile: "dense", shard: index % states.length === 4 ? null : `s${index % 32}`, memory_bytes: 60e6 + index, storage_bytes: 18_000, attention: null,
}));

const listeners = new Set();
const files = { "/ui": ["index.html", "text/html"], "/ui/assets/app.js": ["app.js", "text/javascript"], "/ui/assets/app.css": ["app.css", "text/css"] };
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const json = (body) => response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  if (files[pathname]) {
    const [name, type] = files[pathname];
    return response.setHeader("content-type", type).end(readFileSync(new URL(`../dist/${name}`, import.meta.url)));
  }
  if (pathname === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    listeners.add(response);
    return request.on("close", () => listeners.delete(response));
  }
  if (pathname === "/sessions") return json({ success: true, sessions });
  if (pathname === "/sites") return json({ success: true, sites: [] });
  if (pathname === "/openapi.json") return json({ paths: { "/sessions/{id}/refresh": { post: {} }, "/sessions/{id}": { delete: {} } } });
  const one = sessions.find((session) => pathname === `/sessions/${session.session_id}`);
  if (one) return json({ success: true, ...one });
  response.writeHead(204).end();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await launch();
const page = await open(browser);
await page.goto(`http://127.0.0.1:${server.address().port}/ui`);
const cards = page.getByRole("list", { name: "Sessions" }).locator(":scope > li");
await cards.nth(SESSIONS - 1).waitFor({ state: "attached" });
assert.equal(await cards.count(), SESSIONS);

// Of the thread that scripts and layout run on, and its own time alone: others want the processor, too.
const protocol = await page.context().newCDPSession(page);
await protocol.send("Performance.enable", { timeDomain: "threadTicks" });
const worked = async () => {
  const { metrics } = await protocol.send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
};
for (const view of ["cards", "rows"]) {
  if (view === "rows") await page.getByRole("button", { name: "Rows" }).click();
  const before = await worked();
  for (let update = 1; update <= UPDATES; update += 1) {
    const session = sessions[(update * 37) % SESSIONS];
    session.title = `${view} ${update}`;
    session.last_used = now();
    const happening = { id: update, time: now(), session_id: session.session_id, name: session.name, kind: "refreshed", state: session.state, reason: "due", message: "it was refreshed" };
    for (const listener of listeners) listener.write(`event: refreshed\ndata: ${JSON.stringify(happening)}\n\n`);
    await new Promise((resolve) => setTimeout(resolve, UPDATE_EVERY_MS));
  }
  const mean = ((await worked()) - before) / UPDATES;
  if (view === "cards") await page.getByText(`cards ${UPDATES}`).waitFor({ state: "attached" });
  console.log(`${SESSIONS} sessions as ${view}: ${mean.toFixed(1)} ms of work per update, of ${BUDGET_MS}`);
  assert.ok(mean < BUDGET_MS, `${mean.toFixed(1)} ms`);
}
assert.deepEqual(page.complaints, []);
await browser.close();
server.closeAllConnections();
server.close();
