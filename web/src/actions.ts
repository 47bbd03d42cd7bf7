// What can be done with sessions, one or many.

import { at, call, type Session } from "./api";
import { store } from "./store";

export interface Act {
  name: string;
  /** The route that it needs. */
  route: string;
  done: string;
  /** What is asked before. */
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
  { name: "Pin", route: "PATCH /sessions/{id}", done: "pinned: nothing but closing ends them", run: pin(true) },
  { name: "Unpin", route: "PATCH /sessions/{id}", done: "unpinned", run: pin(false) },
  {
    name: "Close",
    route: "DELETE /sessions/{id}",
    done: "closed",
    question: (count) => `Close ${count === 1 ? "this session" : `these ${count} sessions`}? Their windows and sign-ins are gone for good.`,
    run: (session) => call("DELETE", at(session.session_id)),
  },
];

/** How many are acted on at once. */
const AT_ONCE = 4;

/** Acts on all of them and says how it went. */
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
  return good + (failures.length > 0 ? `${failures.length} refused. ${failures.slice(0, 3).join("; ")}` : "");
}
