// The frame of all views: sign-in, navigation, and the state of the connection.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { call, onSignedOut, Refusal, signIn, signOut } from "./api";
import "./app.css";
import { MachineView } from "./machine";
import { Overview } from "./overview";
import { SessionView } from "./session";
import { SitesView } from "./sites";
import { store, useStore } from "./store";

const PLACES = [["/ui", "Sessions"], ["/ui/machine", "Machine"], ["/ui/sites", "Sites"]] as const;

/** Goes to another view without loading the page again. */
export function go(path: string) {
  history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
}

function usePath(): string {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const moved = () => setPath(location.pathname);
    const clicked = (event: MouseEvent) => {
      const link = (event.target as Element | null)?.closest?.("a");
      const ours = link?.origin === location.origin && link.pathname.startsWith("/ui");
      if (!link || !ours || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      go(link.pathname);
      document.querySelector<HTMLElement>("main")?.focus();
    };
    addEventListener("popstate", moved);
    document.addEventListener("click", clicked);
    return () => {
      removeEventListener("popstate", moved);
      document.removeEventListener("click", clicked);
    };
  }, []);
  return path;
}

/** Returns the code in the fragment, which browsers do not send, and removes it from the address. */
function codeInAddress(): string {
  const code = new URLSearchParams(location.hash.slice(1)).get("code") ?? "";
  if (code) history.replaceState(null, "", location.pathname);
  return code;
}

function SignIn({ onIn, said }: { onIn: () => void; said: string }) {
  const [problem, setProblem] = useState(said);
  const enter = async (event: SubmitEvent) => {
    event.preventDefault();
    const code = new FormData(event.currentTarget as HTMLFormElement).get("code");
    try {
      await signIn(String(code).trim());
      onIn();
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <main class="sign-in" tabIndex={-1}>
      <h1>Pilotlight</h1>
      <p>Open the link that <code>pilotlight dashboard</code> prints, or enter its code. You can also sign in (log in) with the token that <code>pilotlight token</code> prints.</p>
      <form onSubmit={enter}>
        <label>Code or token <input name="code" type="password" autocomplete="off" required autofocus /></label>
        <button type="submit">Sign in</button>
      </form>
      <p role="alert">{problem}</p>
    </main>
  );
}

function View({ path }: { path: string }) {
  const session = /^\/ui\/sessions\/([^/]+)\/?$/.exec(path);
  if (session) return <SessionView key={session[1]} id={session[1]!} />;
  if (path === "/ui/machine") return <MachineView />;
  if (path === "/ui/sites") return <SitesView />;
  if (path === "/ui" || path === "/ui/") return <Overview />;
  return <p>Page not found. <a href="/ui">All sessions</a></p>;
}

function Frame({ onOut }: { onOut: () => void }) {
  const path = usePath();
  const { link } = useStore();
  useEffect(() => {
    const title = PLACES.find(([place]) => place === path)?.[1] ?? "Session";
    document.title = `${title} · Pilotlight`;
  }, [path]);
  const leave = async () => {
    await signOut();
    onOut();
  };
  const words = { connecting: "connecting", live: "live", lost: "disconnected, reconnecting" };
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to content</a>
      <header>
        <strong class="brand"><img src="/ui/assets/icon.svg" alt="" /> Pilotlight</strong>
        <nav aria-label="Views">
          {PLACES.map(([place, name]) => <a href={place} aria-current={path === place ? "page" : undefined}>{name}</a>)}
        </nav>
        <span class={`link ${link}`} role="status">{words[link]}</span>
        <button type="button" onClick={leave}>Sign out</button>
      </header>
      <main id="main" tabIndex={-1}><View path={path} /></main>
    </>
  );
}

function App() {
  const [inside, setInside] = useState<boolean>();
  const [said, setSaid] = useState("");
  const out = () => {
    store.stop();
    setInside(false);
  };
  const enter = () => {
    store.start();
    setInside(true);
  };
  useEffect(() => {
    const begin = async () => {
      const code = codeInAddress();
      if (code) await signIn(code).catch((error: Error) => setSaid(error.message));
      try {
        await call("GET", "/sites");
        enter();
      } catch (error) {
        if (error instanceof Refusal && error.status === 401) setInside(false);
        else window.setTimeout(() => void begin(), 1000);
      }
    };
    void begin();
    return onSignedOut(out);
  }, []);
  if (inside === undefined) return <p class="loading" role="status">Connecting to the server</p>;
  return inside ? <Frame onOut={out} /> : <SignIn onIn={enter} said={said} />;
}

render(<App />, document.getElementById("app")!);
