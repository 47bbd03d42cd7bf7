// What is done in a session: begin an operation, go on with one that waits, see what came of each.

import { useEffect, useState } from "preact/hooks";
import { at, call, Refusal, type Session } from "./api";
import { Question } from "./parts";
import { useStore } from "./store";
import { Ago, bytes } from "./words";

type Status = "running" | "needs_input" | "done" | "failed" | "expired" | "cancelled";

interface Download { name: string; size: number; url: string }

interface Operation {
  operation_id: string;
  operation: string;
  status: Status;
  phase: number;
  phases: number;
  missing: string[];
  expires_at: string | null;
  created_at: string;
  ended_at: string | null;
  outputs: Record<string, unknown>;
  screenshots: { name: string; step: string; url: string }[];
  step?: number;
  error?: string;
  hint?: string;
}

export interface Definition {
  phases: { needs?: string[] }[];
  optional?: Record<string, string>;
  inputs?: Record<string, "text" | "integer" | "number" | "boolean">;
}

const STATUSES: Record<Status, [sign: string, word: string]> = {
  running: ["▶", "Running"],
  needs_input: ["?", "Needs input"],
  done: ["✓", "Done"],
  failed: ["!", "Failed"],
  expired: ["⌛", "Expired"],
  cancelled: ["×", "Given up"],
};

/** The operations that a site has. */
export async function definitions(site: string): Promise<Record<string, Definition>> {
  type Answer = { operations?: Record<string, Definition> };
  return (await call<Answer>("GET", `/sites/${site}`)).operations ?? {};
}

/** What it needs, in the order in which it needs it, and then what it can do without. */
export const inputsOf = (definition: Definition) => ({
  needed: definition.phases.flatMap((phase) => phase.needs ?? []).filter((name, index, all) => all.indexOf(name) === index),
  optional: Object.keys(definition.optional ?? {}),
});

const words = (name: string) => name.replaceAll("_", " ");
/** The server's addresses are those of its own machine; ours is where this page came from. */
const here = (url: string) => new URL(url).pathname;

function Field({ name, definition }: { name: string; definition: Definition | undefined }) {
  const kind = definition?.inputs?.[name] ?? "text";
  const usual = definition?.optional?.[name];
  const label = `${words(name)}${usual === undefined ? "" : " (optional)"}`;
  if (kind === "boolean") {
    return (
      <label>{label} <select name={name} defaultValue={usual ?? ""}>
        {usual === undefined && <option value=""></option>}<option value="true">yes</option><option value="false">no</option>
      </select></label>
    );
  }
  return (
    <label>{label} {kind === "text"
      ? <input name={name} type="text" defaultValue={usual ?? ""} autocomplete="off" />
      : <input name={name} type="number" step={kind === "number" ? "any" : "1"} defaultValue={usual ?? ""} autocomplete="off" />}</label>
  );
}

function Form({ title, names, definition, onInputs, yes }: {
  title: string; names: string[]; definition: Definition | undefined; yes: string; onInputs: (inputs: Record<string, string>) => Promise<void>;
}) {
  const [busy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const given = [...new FormData(event.currentTarget as HTMLFormElement)] as [string, string][];
    setBusy(true);
    // What is left empty is asked for when it is needed.
    await onInputs(Object.fromEntries(given.filter(([, value]) => value !== "")));
    setBusy(false);
  };
  return (
    <form class="bar" aria-label={title} onSubmit={submit}>
      {names.map((name) => <Field key={name} name={name} definition={definition} />)}
      <button type="submit" disabled={busy}>{busy ? "Working …" : yes}</button>
    </form>
  );
}

const isDownload = (value: unknown): value is Download =>
  typeof value === "object" && value !== null && "url" in value && "size" in value;

function Output({ value }: { value: unknown }) {
  if (isDownload(value)) return <><a href={here(value.url)} download>{value.name}</a>, {bytes(value.size)}</>;
  if (!Array.isArray(value) || value.length === 0 || value.some((row) => typeof row !== "object" || row === null))
    return <>{typeof value === "string" ? value : JSON.stringify(value)}</>;
  // Rows by their headings, or, in a table without any, by their order.
  const rows = value as Record<string, unknown>[] | unknown[][];
  const headings = Array.isArray(rows[0]) ? [] : Object.keys(rows[0]!);
  return (
    <div class="scroll events" role="region" aria-label="Table" tabIndex={0}><table>
      {headings.length > 0 && <thead><tr>{headings.map((heading) => <th scope="col">{heading}</th>)}</tr></thead>}
      <tbody>{rows.map((row) => <tr>{Object.values(row).map((cell) => <td>{typeof cell === "string" ? cell : JSON.stringify(cell)}</td>)}</tr>)}</tbody>
    </table></div>
  );
}

function Entry({ operation, definition, onSent, onSaid }: {
  operation: Operation; definition: Definition | undefined; onSent: Send; onSaid: (said: string) => void;
}) {
  const { operation_id: id, status, outputs, screenshots } = operation;
  const [asked, setAsked] = useState(false);
  const [sign, word] = STATUSES[status];
  const over = status !== "running" && status !== "needs_input";
  const pictures = screenshots.length;
  return (
    <li class="operation">
      <h3>{words(operation.operation)} <span class={`state ${status}`}><span aria-hidden="true">{sign}</span> {word}</span></h3>
      <p>Phase {operation.phase} of {operation.phases}{operation.step ? `, step ${operation.step}` : ""}. Begun <Ago time={operation.created_at} />
        {over && <>, over <Ago time={operation.ended_at} /></>}{status === "needs_input" && <>, waits until <Ago time={operation.expires_at} /></>}.</p>
      {over && status !== "cancelled" && operation.error && <p class="attention">{operation.error}. {operation.hint}</p>}
      {status === "needs_input" && (
        <Form title={`Go on with ${words(operation.operation)}`} names={operation.missing} definition={definition} yes="Go on"
          onInputs={(inputs) => onSent(`/operations/${id}`, { inputs })} />
      )}
      <dl>{Object.entries(outputs).map(([name, value]) => <><dt>{words(name)}</dt><dd><Output value={value} /></dd></>)}</dl>
      {pictures > 0 && (
        <details><summary>{pictures === 1 ? "One picture" : `${pictures} pictures`}</summary>
          <ol class="pictures">{screenshots.map(({ name, step, url }) => (
            <li><a href={here(url)} target="_blank" rel="noopener"><img src={here(url)} alt={`The page after step ${step}`} loading="lazy" /></a> {step} {name}</li>
          ))}</ol>
        </details>
      )}
      <p class="buttons">
        <a href={`/operations/${id}/bundle.zip`} download>Everything as a ZIP</a>
        {!over && <button type="button" class="danger" onClick={() => setAsked(true)}>Give up</button>}
      </p>
      {asked && <Question text={`Give up ${words(operation.operation)}? The session stays.`} yes="Give up" onAnswer={(yes) => {
        setAsked(false);
        if (yes) void call("DELETE", `/operations/${id}`).then(() => onSaid("It is given up."), (error: Error) => onSaid(error.message));
      }} />}
    </li>
  );
}

type Send = (path: string, body: object) => Promise<void>;

export function Operations({ session, onSaid }: { session: Session; onSaid: (said: string) => void }) {
  const { events, link } = useStore();
  const [known, setKnown] = useState<Record<string, Definition>>({});
  const [operations, setOperations] = useState<Operation[]>([]);
  const [chosen, setChosen] = useState("");
  const { session_id: id, site } = session;
  const latest = events.findLast((happening) => happening.session_id === id && happening.kind.startsWith("operation_"))?.id;
  useEffect(() => {
    if (site) definitions(site).then(setKnown, () => setKnown({}));
  }, [site]);
  useEffect(() => {
    type Answer = { operations: Operation[] };
    call<Answer>("GET", at(id, "/operations")).then((answer) => setOperations(answer.operations), () => undefined);
  }, [id, latest, link]);
  const names = Object.keys(known);
  const name = known[chosen] ? chosen : names[0];
  const definition = name === undefined ? undefined : known[name];
  const send: Send = async (path, body) => {
    const words = await call<Operation>("POST", path, body).then(
      () => "It is done.",
      // An operation that asks or has failed says so itself, in the list.
      (error: Error) => (error instanceof Refusal && "operation_id" in error.body ? "" : error.message),
    );
    onSaid(words);
  };
  if (names.length === 0 && operations.length === 0) return null;
  return (
    <>
      <h2>Operations</h2>
      {name !== undefined && definition && (
        <section class="operation" aria-label="Begin an operation">
          <label>Operation <select value={name} onChange={(event) => setChosen(event.currentTarget.value)}>
            {names.map((name) => <option value={name}>{words(name)}</option>)}
          </select></label>
          <Form key={name} title={`Begin ${words(name)}`} names={[...inputsOf(definition).needed, ...inputsOf(definition).optional]} definition={definition} yes="Run"
            onInputs={(inputs) => send(at(id, "/operations"), { operation: name, inputs })} />
          {inputsOf(definition).needed.length > 0 && <p class="notice">What you leave empty is asked for when it is needed.</p>}
        </section>
      )}
      <ul class="operations" aria-label="Operations of this session">
        {operations.map((operation) => (
          <Entry key={operation.operation_id} operation={operation} definition={known[operation.operation]} onSent={send} onSaid={onSaid} />
        ))}
      </ul>
    </>
  );
}
