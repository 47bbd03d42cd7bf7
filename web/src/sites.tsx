// The sites: results of their sign-ins, and their operations.

import { useEffect, useState } from "preact/hooks";
import { call, type Happening } from "./api";
import { definitions, inputsOf, type Definition } from "./operations";
import { useStore } from "./store";
import { Ago, StateBadge } from "./words";

const GOOD = new Set(["signed_in", "refreshed"]);
const BAD = new Set(["sign_in_failed", "refresh_failed"]);
const SHOWN = 60;

/** Every sign-in and refresh as a mark, oldest first. */
function Health({ events }: { events: Happening[] }) {
  if (events.length === 0) return <p>No sign-ins or refreshes since the server started.</p>;
  const bad = events.filter((happening) => BAD.has(happening.kind)).length;
  const words = `${events.length - bad} of ${events.length} sign-ins and refreshes succeeded`;
  return (
    <figure class="health">
      <svg viewBox={`0 0 ${SHOWN * 6} 20`} role="img" aria-label={words}>
        {events.slice(-SHOWN).map((happening, index) => BAD.has(happening.kind)
          ? <rect class="bad" x={index * 6} y={0} width={5} height={20}><title>{happening.message}</title></rect>
          : <rect class="good" x={index * 6} y={8} width={5} height={12}><title>{happening.message}</title></rect>)}
      </svg>
      <figcaption>{words}, the last <Ago time={events.at(-1)!.time} /></figcaption>
    </figure>
  );
}

interface Waiting { operation_id: string; session_id: string; operation: string; missing: string[] }

/** The operations and their inputs. */
function Operations({ site }: { site: string }) {
  const [known, setKnown] = useState<Record<string, Definition>>({});
  useEffect(() => {
    definitions(site).then(setKnown, () => undefined);
  }, [site]);
  const names = Object.keys(known);
  if (names.length === 0) return null;
  return (
    <>
      <h3>Operations</h3>
      <dl>{names.map((name) => {
        const { needed, optional } = inputsOf(known[name]!);
        const takes = [needed.join(", "), optional.length > 0 ? `optional ${optional.join(", ")}` : ""].filter(Boolean).join("; ");
        return <><dt>{name}</dt><dd>{takes || "no inputs"}</dd></>;
      })}</dl>
    </>
  );
}

export function SitesView() {
  const { sessions, events } = useStore();
  const [sites, setSites] = useState<string[]>();
  useEffect(() => {
    call<{ sites: string[] }>("GET", "/sites").then((answer) => setSites(answer.sites), () => undefined);
  }, []);
  const [waiting, setWaiting] = useState<Waiting[]>([]);
  const latest = events.findLast((happening) => happening.kind.startsWith("operation_"))?.id;
  useEffect(() => {
    type Answer = { operations: Waiting[] };
    call<Answer>("GET", "/operations?status=needs_input").then((answer) => setWaiting(answer.operations), () => undefined);
  }, [latest]);
  const siteOf = new Map([...sessions.values()].map((session) => [session.session_id, session.site]));
  return (
    <>
      <h1>Sites</h1>
      {sites?.length === 0 && <p>No sites are defined.</p>}
      {sites?.map((site) => {
        const own = [...sessions.values()].filter((session) => session.site === site);
        const fared = events.filter((happening) => (GOOD.has(happening.kind) || BAD.has(happening.kind))
          && happening.session_id && siteOf.get(happening.session_id) === site);
        return (
          <section class="site" aria-label={site}>
            <h2>{site}</h2>
            <Health events={fared} />
            <Operations site={site} />
            {waiting.filter((operation) => siteOf.get(operation.session_id) === site).map((operation) => (
              <p class="notice"><a href={`/ui/sessions/${operation.session_id}`}>{operation.operation} waits</a> for {operation.missing.join(", ")}.</p>
            ))}
            {own.length > 0 && <h3>Sessions</h3>}
            <ul>{own.map((session) => (
              <li><a href={`/ui/sessions/${session.session_id}`}>{session.name ?? session.username ?? session.session_id}</a> <StateBadge state={session.state} /></li>
            ))}</ul>
          </section>
        );
      })}
    </>
  );
}
