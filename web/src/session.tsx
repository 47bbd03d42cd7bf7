// A session: its live view, state, operations, policy, events, and code to connect to it.

import { useEffect, useState } from "preact/hooks";
import { ACTS, actOn, type Act } from "./actions";
import { at, call, type Session } from "./api";
import { LiveView } from "./live";
import { Operations } from "./operations";
import { nameOf, Notice, Question, useRoutes } from "./parts";
import { store, useStore } from "./store";
import { Ago, bytes, signInHow, SignInText, StateBadge } from "./words";

function Policy({ session, onSaid }: { session: Session; onSaid: (said: string) => void }) {
  const change = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const patch = {
      keep_alive: form.has("keep_alive"),
      never_terminate: form.has("never_terminate"),
      refresh_interval: Number(form.get("refresh_interval")),
      idle_timeout: Number(form.get("idle_timeout")),
    };
    try {
      store.put(await call<Session>("PATCH", at(session.session_id), patch));
      onSaid("The policy was changed.");
    } catch (error) {
      onSaid((error as Error).message);
    }
  };
  return (
    <form class="bar" onSubmit={change} aria-label="Policy">
      <label class="inline"><input type="checkbox" name="keep_alive" defaultChecked={session.keep_alive} /> never expires</label>
      <label class="inline"><input type="checkbox" name="never_terminate" defaultChecked={session.never_terminate} /> only ends when closed</label>
      <label>Refresh interval (s, 0 = never) <input type="number" name="refresh_interval" min={0} defaultValue={String(session.refresh_interval)} /></label>
      <label>Idle timeout (s) <input type="number" name="idle_timeout" min={1} defaultValue={String(session.idle_timeout)} /></label>
      <button type="submit">Change policy</button>
    </form>
  );
}

function Lines({ session, routes }: { session: Session; routes: Set<string> | undefined }) {
  const { session_id: id } = session;
  const { host, origin } = location;
  const cdp = `ws://${host}/sessions/${id}/devtools/browser?token=TOKEN`;
  const ways: [string, string][] = [["curl", `TOKEN=$(pilotlight token)\ncurl -H "Authorization: Bearer $TOKEN" -X POST ${origin}/ping_session/${id}`]];
  const gateway = routes?.has("GET /sessions/{id}/json/version") || routes?.has("GET /sessions/{id}/devtools/browser");
  ways.push(["Playwright", `browser = playwright.chromium.connect_over_cdp("${cdp}")\npage = browser.contexts[0].pages[0]`]);
  ways.push(["Puppeteer", `const browser = await puppeteer.connect({ browserWSEndpoint: "${cdp}", defaultViewport: null });`]);
  ways.push(["Selenium", `options = webdriver.ChromeOptions()\noptions.set_capability("pilotlight:options", {"session_id": "${id}"})\ndriver = webdriver.Remote("http://pilotlight:TOKEN@${host}", options=options)`]);
  return (
    <>
      {!gateway && <p class="notice">See the documentation for whether this version of the server supports CDP and WebDriver. Replace TOKEN with the output of <code>pilotlight token</code>.</p>}
      {ways.map(([name, text]) => (
        <section aria-label={`Code for ${name}`}>
          <h3>{name} <button type="button" aria-label={`Copy the code for ${name}`} onClick={() => void navigator.clipboard?.writeText(text)}>Copy</button></h3>
          <pre tabIndex={0}>{text}</pre>
        </section>
      ))}
    </>
  );
}

export function SessionView({ id }: { id: string }) {
  const { sessions, events, loaded } = useStore();
  const [said, setSaid] = useState("");
  const [asked, setAsked] = useState<Act>();
  /** Opening the page of a frozen or hibernated session does not wake it. */
  const [looks, setLooks] = useState(false);
  const routes = useRoutes();
  const session = sessions.get(id);
  const ended = loaded && !session;
  const state = session?.state;
  useEffect(() => {
    if (state === "ready") setLooks(false);
  }, [state]);
  useEffect(() => {
    if (session) document.title = `${nameOf(session)} · Pilotlight`;
  }, [session]);
  const mine = events.filter((happening) => happening.session_id === id).reverse();
  const act = async (act: Act) => session && setSaid(await actOn(act, [session]));
  return (
    <>
      <h1>{session ? nameOf(session) : "Session"} {session && <StateBadge state={session.state} />}</h1>
      {!session && <p role="status">{ended ? "This session does not exist or has ended." : "Loading …"}</p>}
      {session && (
        <>
          {session.attention && <p class="attention">{session.attention}</p>}
          <div class="bar" role="group" aria-label="Session actions">
            {ACTS.filter((act) => routes?.has(act.route)).map((one) => (
              <button type="button" class={one.question ? "danger" : ""} onClick={() => (one.question ? setAsked(one) : void act(one))}>{one.name}</button>
            ))}
          </div>
          <Notice>{said}</Notice>
          {looks || !["frozen", "hibernated"].includes(session.state)
            ? <LiveView session={session} onSaid={setSaid} />
            : <p><button type="button" onClick={() => setLooks(true)}>Wake and view</button></p>}
          <dl class="facts">
            <dt>Id</dt><dd><code>{id}</code></dd>
            <dt>Site</dt><dd>{session.site ?? "–"}{session.username ? `, as ${session.username}` : ""}</dd>
            <dt>Page</dt><dd>{session.title} {session.url}</dd>
            <dt>Used</dt><dd><Ago time={session.last_used} />{session.in_use ? ", in use now" : ""}</dd>
            <dt>Held by</dt><dd>{session.holds.length === 0 ? "–" : <ul class="holds">{session.holds.map((hold) => (
              <li>{hold.owner ?? "unnamed client"}, {hold.shared ? "shared" : "exclusive"}{hold.quiet ? ", quiet" : ""}, until <Ago time={hold.expires_at} /> unless renewed</li>
            ))}</ul>}</dd>
            <dt>Clients</dt><dd>{session.clients.length === 0 ? "–" : <ul class="holds">{session.clients.map((client) => (
              <li>{client.name}{client.silent_since ? <>, silent since <Ago time={client.silent_since} /></> : ""}</li>
            ))}</ul>}</dd>
            <dt>Sign-in</dt><dd><SignInText signIn={session.sign_in} /> ({signInHow(session.sign_in)}); last sign-in <Ago time={session.signed_in_at} />, last refresh <Ago time={session.last_refresh} /></dd>
            <dt>Next refresh</dt><dd><Ago time={session.next_refresh} /></dd>
            <dt>Ends</dt><dd><Ago time={session.expires_at} /></dd>
            <dt>Checkpoint</dt><dd><Ago time={session.checkpoint_at} />, {bytes(session.storage_bytes)}</dd>
            <dt>Window</dt><dd>{session.shard ? `in ${session.shard}, ${session.tabs} tabs, ${bytes(session.memory_bytes)}` : "none"}</dd>
          </dl>
          <Operations session={session} onSaid={setSaid} />
          <h2>Policy</h2>
          <Policy key={`${session.keep_alive}${session.never_terminate}${session.refresh_interval}${session.idle_timeout}`} session={session} onSaid={setSaid} />
        </>
      )}
      <h2>Events</h2>
      {mine.length === 0 ? <p>No events since the server started.</p> : (
        <div class="scroll events" role="region" aria-label="Events" tabIndex={0}><table>
          <thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Why</th></tr></thead>
          <tbody>{mine.slice(0, 100).map((happening) => (
            <tr key={happening.id}><td><Ago time={happening.time} /></td><td>{happening.kind.replaceAll("_", " ")}</td><td>{happening.message}</td></tr>
          ))}</tbody>
        </table></div>
      )}
      {session && <><h2>Connect a client</h2><Lines session={session} routes={routes} /></>}
      {asked?.question && <Question text={asked.question(1)} yes={asked.name} onAnswer={(yes) => {
        setAsked(undefined);
        if (yes) void act(asked);
      }} />}
    </>
  );
}
