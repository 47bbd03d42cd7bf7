// All sessions, as cards or rows: search, sort, select, and run actions.

import { memo } from "preact/compat";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { ACTS, actOn, type Act } from "./actions";
import type { Session, State } from "./api";
import { nameOf, Notice, Question, Thumbnail, useRoutes } from "./parts";
import { useStore } from "./store";
import { Ago, bytes, signInWord, SignInText, STATES, StateBadge } from "./words";

const SORTS: Record<string, [name: string, key: (session: Session) => string | number]> = {
  name: ["Name", (session) => nameOf(session).toLowerCase()],
  state: ["State", (session) => session.state],
  sign_in: ["Sign-in", (session) => signInWord(session.sign_in)],
  site: ["Site", (session) => session.site ?? ""],
  used: ["Last used", (session) => -Date.parse(session.last_used)],
  refresh: ["Next refresh", (session) => (session.next_refresh ? Date.parse(session.next_refresh) : Infinity)],
  memory: ["Memory", (session) => -(session.memory_bytes ?? 0)],
};

interface Choice { text: string; state: string; site: string; sort: string; rows: boolean }

const FIRST_CHOICE: Choice = { text: "", state: "", site: "", sort: "name", rows: false };

function useChoice(): [Choice, (change: Partial<Choice>) => void] {
  const [choice, setChoice] = useState<Choice>(() => {
    try {
      return { ...FIRST_CHOICE, ...JSON.parse(localStorage.getItem("overview") ?? "{}"), text: "" };
    } catch {
      return FIRST_CHOICE;
    }
  });
  useEffect(() => localStorage.setItem("overview", JSON.stringify(choice)), [choice]);
  return [choice, (change) => setChoice((before) => ({ ...before, ...change }))];
}

function matches(session: Session, choice: Choice): boolean {
  const text = choice.text.trim().toLowerCase();
  const words = [session.name, session.username, session.site, session.title, session.url, session.session_id];
  return (!choice.state || session.state === choice.state)
    && (!choice.site || session.site === choice.site)
    && (!text || words.some((word) => word?.toLowerCase().includes(text)));
}

interface Row { session: Session; chosen: boolean; onChoose: (id: string, chosen: boolean) => void }

function Choose({ session, chosen, onChoose }: Row) {
  return (
    <input type="checkbox" aria-label={`Select ${nameOf(session)}`} checked={chosen}
      onChange={(event) => onChoose(session.session_id, event.currentTarget.checked)} />
  );
}

function Marks({ session }: { session: Session }) {
  return <>{session.in_use && <span class="mark">in use</span>} {session.never_terminate && <span class="mark">pinned</span>}</>;
}

const Card = memo(function Card(row: Row) {
  const { session } = row;
  return (
    <li class="card">
      <div class="head">
        <Choose {...row} />
        <a href={`/ui/sessions/${session.session_id}`}>{nameOf(session)}</a>
        <StateBadge state={session.state} />
      </div>
      <Thumbnail session={session} />
      {session.attention && <p class="attention">{session.attention}</p>}
      <p class="title"><Marks session={session} /> {session.title || session.url || "no page"}</p>
      <dl>
        <dt>Site</dt><dd>{session.site ?? "–"}{session.username ? ` · ${session.username}` : ""}</dd>
        <dt>Last used</dt><dd><Ago time={session.last_used} /></dd>
        <dt>Sign-in</dt><dd><SignInText signIn={session.sign_in} /></dd>
        <dt>Next refresh</dt><dd><Ago time={session.next_refresh} /></dd>
        <dt>Memory</dt><dd>{bytes(session.memory_bytes)}</dd>
      </dl>
    </li>
  );
});

// Explicit roles, because its layout is not that of a table: see app.css.
const TableRow = memo(function TableRow(row: Row) {
  const { session } = row;
  return (
    <tr role="row">
      <td role="cell"><Choose {...row} /></td>
      <td role="cell" class="small"><Thumbnail session={session} /></td>
      <th scope="row" role="rowheader"><a href={`/ui/sessions/${session.session_id}`}>{nameOf(session)}</a> <Marks session={session} /></th>
      <td role="cell">{session.site ?? "–"}</td>
      <td role="cell">{session.username ?? "–"}</td>
      <td role="cell"><StateBadge state={session.state} />{session.attention && <p class="attention">{session.attention}</p>}</td>
      <td role="cell"><Ago time={session.last_used} /></td>
      <td role="cell"><SignInText signIn={session.sign_in} /></td>
      <td role="cell"><Ago time={session.next_refresh} /></td>
      <td role="cell" class="number">{bytes(session.memory_bytes)}</td>
    </tr>
  );
});

const COLUMNS = ["Select", "Page", "Name", "Site", "User", "State", "Last used", "Sign-in", "Next refresh", "Memory"];

function Select({ name, value, options, onPick }: {
  name: string; value: string; options: [string, string][]; onPick: (value: string) => void;
}) {
  return (
    <label>{name} <select value={value} onChange={(event) => onPick(event.currentTarget.value)}>
      {options.map(([option, text]) => <option value={option}>{text}</option>)}
    </select></label>
  );
}

export function Overview() {
  const { sessions, loaded } = useStore();
  const [choice, choose] = useChoice();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [said, setSaid] = useState("");
  const [asked, setAsked] = useState<Act>();
  const routes = useRoutes();
  const all = useMemo(() => [...sessions.values()], [sessions]);
  const shown = useMemo(() => {
    const key = (SORTS[choice.sort] ?? SORTS.name!)[1];
    const keyed = all.filter((session) => matches(session, choice)).map((session) => [key(session), session] as const);
    return keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, session]) => session);
  }, [all, choice]);
  const picked = shown.filter((session) => chosen.has(session.session_id));
  const onChoose = useCallback((id: string, is: boolean) => setChosen((before) => {
    const after = new Set(before);
    if (is) after.add(id);
    else after.delete(id);
    return after;
  }), []);
  const act = async (act: Act) => {
    setSaid(`${act.name}: working on ${picked.length}`);
    setSaid(await actOn(act, picked));
  };
  const begin = (wanted: Act) => (wanted.question ? setAsked(wanted) : void act(wanted));
  const sites = [...new Set(all.map((session) => session.site).filter((site) => site !== null))].sort();
  const states = [...new Set(all.map((session) => session.state))].sort();
  const row = (session: Session) => ({ session, chosen: chosen.has(session.session_id), onChoose });
  const every = shown.length > 0 && picked.length === shown.length;
  return (
    <>
      <h1>Sessions <span class="count">{shown.length === all.length ? all.length : `${shown.length} of ${all.length}`}</span></h1>
      <div class="bar" role="search">
        <label>Search <input type="search" value={choice.text} onInput={(event) => choose({ text: event.currentTarget.value })} /></label>
        <Select name="State" value={choice.state} onPick={(state) => choose({ state })}
          options={[["", "all"], ...states.map((state): [State, string] => [state, STATES[state]?.[1] ?? state])]} />
        <Select name="Site" value={choice.site} onPick={(site) => choose({ site })}
          options={[["", "all"], ...sites.map((site): [string, string] => [site, site])]} />
        <Select name="Sort" value={choice.sort} onPick={(sort) => choose({ sort })}
          options={Object.entries(SORTS).map(([key, [name]]): [string, string] => [key, name])} />
        <button type="button" aria-pressed={choice.rows} onClick={() => choose({ rows: !choice.rows })}>Rows</button>
      </div>
      <div class="bar" role="group" aria-label="Actions for selected sessions">
        <label class="inline"><input type="checkbox" checked={every}
          onChange={() => setChosen(every ? new Set() : new Set(shown.map((session) => session.session_id)))} /> Select all</label>
        <span>{picked.length} selected</span>
        {ACTS.filter((act) => routes?.has(act.route)).map((act) => (
          <button type="button" class={act.question ? "danger" : ""} disabled={picked.length === 0} onClick={() => begin(act)}>{act.name}</button>
        ))}
      </div>
      <Notice>{said}</Notice>
      {asked?.question && <Question text={asked.question(picked.length)} yes={asked.name} onAnswer={(yes) => {
        setAsked(undefined);
        if (yes) void act(asked);
      }} />}
      {loaded && all.length === 0 && <p>There are no sessions yet. Create one with <code>POST /sessions</code> or <code>pilotlight open</code>.</p>}
      {choice.rows ? (
        <div class="scroll" role="region" aria-label="Sessions" tabIndex={0}><table class="sessions" role="table">
          <thead role="rowgroup"><tr role="row">{COLUMNS.map((name) => <th scope="col" role="columnheader">{name}</th>)}</tr></thead>
          <tbody role="rowgroup">{shown.map((session) => <TableRow key={session.session_id} {...row(session)} />)}</tbody>
        </table></div>
      ) : (
        <ul class="cards" aria-label="Sessions">{shown.map((session) => <Card key={session.session_id} {...row(session)} />)}</ul>
      )}
    </>
  );
}
