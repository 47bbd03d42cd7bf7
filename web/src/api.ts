// The public interface, as far as the dashboard uses it.

import type * as api from "./api-types";

export { EVENT_KINDS } from "./api-types";
export type { CheckState, MachineCheck, OperationStatus, SignInStatus } from "./api-types";

/** What the server writes has all of its fields; the schemas only say which ones a client can rely on to be set. */
type Written<T> = Required<T>;

export type State = api.SessionState;
export type SignIn = Written<api.SessionSignIn>;
export type Session = Written<Omit<api.Session, "sign_in">> & { sign_in: SignIn };
export type Happening = Written<api.Event>;
export type Sample = Written<api.LoadSample>;
export type Taken = api.TakenAnswer;
export type Machine = Written<Omit<api.MachineAnswer, "samples">> & { samples: Sample[] };

/** An error response of the server. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly body: Record<string, unknown>) {
    super(String(body.error ?? `The server answered ${status}`));
  }
}

const signedOutListeners = new Set<() => void>();

/** Registers a callback for when the key is no longer valid. */
export function onSignedOut(listener: () => void): () => void {
  signedOutListeners.add(listener);
  return () => signedOutListeners.delete(listener);
}

/** Where the key is stored: only for this origin, while cookies would be sent to every port of the host. */
const KEY = "pilotlight-key";

function key(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    // Some browsers refuse storage; then the key lasts as long as the page is open.
    return forThisPage;
  }
}

let forThisPage: string | null = null;

function keep(key: string | null) {
  forThisPage = key;
  try {
    if (key === null) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, key);
  } catch {
    // As above.
  }
}

async function ask(method: string, path: string, options: RequestInit = {}): Promise<Response> {
  const shown = key();
  const headers = { ...options.headers, ...(shown ? { authorization: `Bearer ${shown}` } : {}) };
  // Cookies of other services on the host must not be sent.
  const answer = await fetch(path, { ...options, method, headers, credentials: "omit" });
  if (answer.status === 401 && path !== "/ui/enter") {
    // Unless another tab has signed in again in the meantime.
    if (key() === shown) {
      keep(null);
      signedOutListeners.forEach((listener) => listener());
    }
  }
  return answer;
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const json = { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await ask(method, path, body === undefined ? {} : json);
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content as T;
  throw new Refusal(answer.status, content);
}

/** Signs in with a code or the token. */
export async function signIn(code: string) {
  keep((await call<{ key: string }>("POST", "/ui/enter", { code })).key);
}

export async function signOut() {
  await call("POST", "/ui/leave", {}).catch(() => undefined);
  keep(null);
}

/** Sends a request while the page is being closed, without waiting for the response. */
export function askOnLeaving(method: string, path: string) {
  void ask(method, path, { keepalive: true }).catch(() => undefined);
}

/** Returns a one-time address of a path, for requests without headers. */
export async function once(path: string): Promise<string> {
  const { ticket } = await call<{ ticket: string }>("POST", "/ui/ticket", { path: path.split("?")[0] });
  return `${path}${path.includes("?") ? "&" : "?"}ticket=${ticket}`;
}

/** Returns an object URL of an image. The caller must release it with `URL.revokeObjectURL`. */
export async function picture(path: string): Promise<string | undefined> {
  const answer = await ask("GET", path).catch(() => undefined);
  return answer?.status === 200 ? URL.createObjectURL(await answer.blob()) : undefined;
}

export const at = (id: string, below = "") => `/sessions/${id}${below}`;

let described: Promise<Set<string>> | undefined;

/** Returns the routes of this server, such as `POST /sessions/{id}/freeze`. */
export function routes(): Promise<Set<string>> {
  type Document = { paths: Record<string, Record<string, unknown>> };
  described ??= call<Document>("GET", "/openapi.json").then(
    ({ paths }) =>
      new Set(Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`))),
    (error: unknown) => {
      described = undefined;
      throw error;
    },
  );
  return described;
}
