// The public interface, as far as the dashboard uses it.

export type State =
  | "starting" | "signing_in" | "ready" | "frozen" | "hibernated" | "recovering" | "needs_attention" | "ended";

export interface Session {
  session_id: string;
  name: string | null;
  site: string | null;
  username: string | null;
  state: State;
  in_use: boolean;
  holds: { owner: string | null; shared: boolean; expires_at: string }[];
  keep_alive: boolean;
  never_terminate: boolean;
  created_at: string;
  last_used: string;
  last_refresh: string | null;
  signed_in_at: string | null;
  next_refresh: string | null;
  refresh_interval: number;
  idle_timeout: number;
  checkpoint_at: string | null;
  expires_at: string | null;
  url: string | null;
  title: string | null;
  tabs: number;
  profile: string;
  shard: string | null;
  memory_bytes: number | null;
  storage_bytes: number | null;
  attention: string | null;
}

export interface Happening {
  id: number;
  time: string;
  session_id: string | null;
  name: string | null;
  kind: string;
  state: State | null;
  reason: string;
  sentence: string;
}

export interface Sample {
  time: string;
  cpu_percent: number | null;
  available_bytes: number | null;
  windows_bytes: number;
  used_bytes: number | null;
  budget_bytes: number | null;
  live: number;
  frozen: number;
  hibernated: number;
}

export interface Taken {
  budget_bytes: number;
  used_bytes: number;
  swapped_bytes: number;
  compressed_bytes: number;
  live_bytes: number;
  frozen_bytes: number;
  server_bytes: number;
  shims_bytes: number;
}

export interface Machine {
  cores: number;
  memory_bytes: number | null;
  taken: Taken | null;
  max_live: number;
  max_sessions: number;
  shards: { shard: string; windows: number; memory_bytes: number }[];
  samples: Sample[];
}

/** What the server says where it does not do what it was asked. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly body: Record<string, unknown>) {
    super(String(body.error ?? `The server answered ${status}`));
  }
}

const signedOutListeners = new Set<() => void>();

/** Tells when the server no longer knows us. */
export function onSignedOut(listener: () => void): () => void {
  signedOutListeners.add(listener);
  return () => signedOutListeners.delete(listener);
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content as T;
  if (answer.status === 401 && path !== "/ui/enter") signedOutListeners.forEach((listener) => listener());
  throw new Refusal(answer.status, content);
}

export const at = (id: string, below = "") => `/sessions/${id}${below}`;

let described: Promise<Set<string>> | undefined;

/** The routes that this server has, as `POST /sessions/{id}/freeze`. */
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
