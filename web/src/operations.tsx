// Operations of a session: run one, continue one that waits, view results.

import { useEffect, useState } from "preact/hooks";
import { at, call, Refusal, type OperationStatus, type Session } from "./api";
import { Download as DownloadLink, Picture, Question } from "./parts";
import { useStore } from "./store";
import { Ago, bytes } from "./words";

interface Download { name: string; size: number; url: string }

interface Operation {
  operation_id: string;
  operation: string;
  status: OperationStatus;
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

const STATUSES: Record<OperationStatus, [sign: string, word: string]> = {
  running: ["▶", "Running"],
  needs_input: ["?", "Needs input"],
  done: ["✓", "Done"],
  failed: ["!", "Failed"],
  expired: ["⌛", "Expired"],
  cancelled: ["×", "Cancelled"],
};

/** Returns the operations of a site. */
export async function definitions(site: string): Promise<Record<string, Definition>> {
  type Answer = { operations?: Record<string, Definition> };
  return (await call<Answer>("GET", `/sites/${site}`)).operations ?? {};
}

/** Returns the required inputs, in the order of the phases, and the optional ones. */
export const inputsOf = (definition: Definition) => ({
  needed: definition.phases.flatMap((phase) => phase.needs ?? []).filter((name, index, all) => all.indexOf(name) === index),
  optional: Object.keys(definition.optional ?? {}),
});

const words = (name: string) => name.replaceAll("_", " ");
/** The server's URLs contain its local address; use this page's origin instead. */
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
    // Empty inputs are requested when they are needed.
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
  if (isDownload(value)) return <><DownloadLink path={here(value.url)}>{value.name}</DownloadLink>, {bytes(value.size)}</>;
  if (!Array.isArray(value) || value.length === 0 || value.some((row) => typeof row !== "object" || row === null))
    return <>{typeof value === "string" ? value : JSON.stringify(value)}</>;
  // Rows are objects keyed by heading, or lists if the table has no headings.
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
      <p>Phase {operation.phase} of {operation.phases}{operation.step ? `, step ${operation.step}` : ""}. Started <Ago time={operation.created_at} />
        {over && <>, ended <Ago time={operation.ended_at} /></>}{status === "needs_input" && <>, waiting until <Ago time={operation.expires_at} /></>}.</p>
      {over && status !== "cancelled" && operation.error && <p class="attention">{operation.error}. {operation.hint}</p>}
      {status === "needs_input" && (
        <Form title={`Continue ${words(operation.operation)}`} names={operation.missing} definition={definition} yes="Continue"
          onInputs={(inputs) => onSent(`/operations/${id}`, { inputs })} />
      )}
      <dl>{Object.entries(outputs).map(([name, value]) => <><dt>{words(name)}</dt><dd><Output value={value} /></dd></>)}</dl>
      {pictures > 0 && (
        <details><summary>{pictures === 1 ? "1 screenshot" : `${pictures} screenshots`}</summary>
          <ol class="pictures">{screenshots.map(({ name, step, url }) => (
            <li><Picture path={here(url)} alt={`The page after step ${step}`} /> {step} {name}</li>
          ))}</ol>
        </details>
      )}
      <p class="buttons">
        <DownloadLink path={`/operations/${id}/bundle.zip`}>Download all as ZIP</DownloadLink>
        {!over && <button type="button" class="danger" onClick={() => setAsked(true)}>Cancel operation</button>}
      </p>
      {asked && <Question text={`Cancel ${words(operation.operation)}? The session stays open.`} yes="Cancel operation" onAnswer={(yes) => {
        setAsked(false);
        if (yes) void call("DELETE", `/operations/${id}`).then(() => onSaid("The operation is cancelled."), (error: Error) => onSaid(error.message));
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
      () => "The operation is done.",
      // An operation that waits or has failed is shown in the list.
      (error: Error) => (error instanceof Refusal && "operation_id" in error.body ? "" : error.message),
    );
    onSaid(words);
  };
  if (names.length === 0 && operations.length === 0) return null;
  return (
    <>
      <h2>Operations</h2>
      {name !== undefined && definition && (
        <section class="operation" aria-label="Run an operation">
          <label>Operation <select value={name} onChange={(event) => setChosen(event.currentTarget.value)}>
            {names.map((name) => <option value={name}>{words(name)}</option>)}
          </select></label>
          <Form key={name} title={`Run ${words(name)}`} names={[...inputsOf(definition).needed, ...inputsOf(definition).optional]} definition={definition} yes="Run"
            onInputs={(inputs) => send(at(id, "/operations"), { operation: name, inputs })} />
          {inputsOf(definition).needed.length > 0 && <p class="notice">Inputs that you leave empty are requested when they are needed.</p>}
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
