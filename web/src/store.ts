// All sessions and their events, kept up to date by the server's event stream.

import { useEffect, useState } from "preact/hooks";
import { at, call, EVENT_KINDS, once, Refusal, type Happening, type Session } from "./api";

/** Maximum number of events; the oldest are dropped. */
const MAX_EVENTS = 4000;
/** Changes are collected for this long before the sessions are fetched. */
const COLLECT_MS = 150;
/** More sessions than this are fetched as a list. */
const MAX_SINGLE = 6;
/** Interval of fetching values without events, such as memory and titles. */
const LOOK_AGAIN_MS = 30_000;

export type Link = "connecting" | "live" | "lost";

class Store {
  sessions = new Map<string, Session>();
  events: Happening[] = [];
  link: Link = "connecting";
  loaded = false;
  private listeners = new Set<() => void>();
  private changed = new Set<string>();
  private timer: number | undefined;
  private source: EventSource | undefined;
  /** Incremented with each connection attempt; 0 while signed out. */
  private turn = 0;
  private turns = 0;
  private look: number | undefined;

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private tell() {
    this.listeners.forEach((listener) => listener());
  }

  start() {
    if (this.turn) return;
    void this.open();
    this.look = window.setInterval(() => document.hidden || this.refetch(), LOOK_AGAIN_MS);
  }

  stop() {
    this.turn = 0;
    this.source?.close();
    this.source = undefined;
    window.clearInterval(this.look);
    window.clearTimeout(this.timer);
    this.sessions = new Map();
    this.events = [];
    this.loaded = false;
    this.link = "connecting";
  }

  private async open() {
    const turn = (this.turn = ++this.turns);
    const lost = () => {
      if (this.turn !== turn) return;
      this.link = "lost";
      this.tell();
      window.setTimeout(() => this.turn === turn && void this.open(), 1000);
    };
    const address = await once("/events?after=0").catch(() => undefined);
    if (this.turn !== turn) return;
    if (!address) return lost();
    const source = new EventSource(address);
    this.source = source;
    source.onopen = () => {
      // Missed events are sent again; event ids of an earlier server do not apply.
      this.events = [];
      this.link = "live";
      this.tell();
      void this.refetch();
    };
    source.onerror = () => {
      // The browser would reconnect with a used ticket, or give up.
      source.close();
      if (this.source === source) lost();
    };
    for (const kind of EVENT_KINDS) source.addEventListener(kind, (message) => this.heard((message as MessageEvent).data));
  }

  private heard(data: string) {
    const happening = JSON.parse(data) as Happening;
    this.events.push(happening);
    if (this.events.length > MAX_EVENTS) this.events.splice(0, this.events.length - MAX_EVENTS);
    if (happening.kind === "lagged") void this.refetch();
    else if (happening.session_id) this.changed.add(happening.session_id);
    this.timer ??= window.setTimeout(() => void this.settle(), COLLECT_MS);
  }

  /** Fetches the sessions that have changed. */
  private async settle() {
    this.timer = undefined;
    const ids = [...this.changed];
    this.changed.clear();
    if (ids.length > MAX_SINGLE) return this.refetch();
    const found = await Promise.all(ids.map((id) => this.one(id)));
    const sessions = new Map(this.sessions);
    ids.forEach((id, index) => {
      const session = found[index];
      if (session === undefined) return;
      if (session) sessions.set(id, session);
      else sessions.delete(id);
    });
    this.sessions = sessions;
    this.tell();
  }

  /** Returns the session, null if it has ended, undefined if unknown. */
  private async one(id: string): Promise<Session | null | undefined> {
    try {
      return await call<Session>("GET", at(id));
    } catch (error) {
      return error instanceof Refusal && (error.status === 404 || error.status === 410) ? null : undefined;
    }
  }

  async refetch() {
    try {
      const { sessions } = await call<{ sessions: Session[] }>("GET", "/sessions");
      const fresh = new Map<string, Session>();
      for (const session of sessions) {
        const known = this.sessions.get(session.session_id);
        // The same object if nothing changed, so that its card is not rendered again.
        const same = known && JSON.stringify(known) === JSON.stringify(session);
        fresh.set(session.session_id, same ? known : session);
      }
      this.sessions = fresh;
      this.loaded = true;
      this.tell();
    } catch (error) {
      if (!(error instanceof Refusal)) {
        this.link = "lost";
        this.tell();
      }
    }
  }

  put(session: Session) {
    this.sessions = new Map(this.sessions).set(session.session_id, session);
    this.tell();
  }
}

export const store = new Store();

/** Renders again whenever the store changes. */
export function useStore(): Store {
  const [, setCount] = useState(0);
  useEffect(() => store.subscribe(() => setCount((count) => count + 1)), []);
  return store;
}
