// Actions on one or more sessions.

import { at, call, type Session } from "./api";
import { store } from "./store";

export interface Act {
  name: string;
  /** The route that it needs. */
  route: string;
  done: string;
  /** The question to confirm. */
  question?: (count: number) => string;
  run: (session: Session) => Promise<unknown>;
}

const post = (below: string) => (session: Session) => call<Session>("POST", at(session.session_id, below));
const pin = (never_terminate: boolean) => (session: Session) =>
  call<Session>("PATCH", at(session.session_id), { never_terminate });

export const ACTS: Act[] = [
  { name: "Ping", route: "POST /ping_session/{id}", done: "pinged", run: (session) => call("POST", `/ping_session/${session.session_id}`) },
  { name: "Refresh", route: "POST /sessions/{id}/refresh", done: "refreshed", run: post("/refresh") },
  { name: "Freeze", route: "POST /sessions/{id}/freeze", done: "frozen", run: post("/freeze") },
  { name: "Hibernate", route: "POST /sessions/{id}/hibernate", done: "hibernated", run: post("/hibernate") },
  { name: "Wake", route: "POST /sessions/{id}/wake", done: "woken", run: post("/wake") },
  { name: "Pin", route: "PATCH /sessions/{id}", done: "pinned: they only end when closed", run: pin(true) },
  { name: "Unpin", route: "PATCH /sessions/{id}", done: "unpinned", run: pin(false) },
  {
    name: "Close",
    route: "DELETE /sessions/{id}",
    done: "closed",
    question: (count) => `Close ${count === 1 ? "this session" : `these ${count} sessions`}? Windows and sign-ins are permanently lost.`,
    run: (session) => call("DELETE", at(session.session_id)),
  },
];

/** Maximum number of simultaneous requests. */
const AT_ONCE = 4;

/** Runs an action on all of them and returns a summary. */
export async function actOn(act: Act, sessions: Session[]): Promise<string> {
  const waiting = [...sessions];
  const failures: string[] = [];
  const worker = async () => {
    for (let session = waiting.shift(); session; session = waiting.shift()) {
      try {
        await act.run(session);
      } catch (error) {
        failures.push(`${session.name ?? session.session_id.slice(0, 8)}: ${(error as Error).message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  void store.refetch();
  const done = sessions.length - failures.length;
  const good = done > 0 ? `${done} ${act.done}. ` : "";
  return good + (failures.length > 0 ? `${failures.length} failed. ${failures.slice(0, 3).join("; ")}` : "");
}
