// What the machine carries, and has carried over the last hour.

import { useEffect, useState } from "preact/hooks";
import { call, type Machine } from "./api";
import { Chart } from "./chart";
import { useRoutes } from "./parts";
import { bytes } from "./words";

const EVERY_MS = 5000;

interface Finding { name?: string; status?: string; sentence?: string; hint?: string }

/** What the doctor found, where this server has one. */
function Levers() {
  const routes = useRoutes();
  const [findings, setFindings] = useState<Finding[]>();
  const known = routes?.has("GET /doctor");
  useEffect(() => {
    if (!known) return;
    const listed = (answer: Record<string, unknown>) =>
      Object.values(answer).find((value) => Array.isArray(value)) as Finding[] | undefined;
    call<Record<string, unknown>>("GET", "/doctor").then((answer) => setFindings(listed(answer) ?? []), () => setFindings([]));
  }, [known]);
  if (!known) return <p>This server does not look for levers of its machine by REST.</p>;
  if (!findings) return <p>Looking …</p>;
  return <ul>{findings.map((found) => (
    <li><strong>{found.name}</strong> {found.status}: {found.sentence} {found.hint}</li>
  ))}</ul>;
}

export function MachineView() {
  const [machine, setMachine] = useState<Machine>();
  useEffect(() => {
    const look = () => document.hidden || void call<Machine>("GET", "/machine").then(setMachine, () => undefined);
    look();
    const timer = window.setInterval(look, EVERY_MS);
    return () => window.clearInterval(timer);
  }, []);
  if (!machine) return <><h1>Machine</h1><p role="status">Looking …</p></>;
  const { samples, shards } = machine;
  const over = (key: "live" | "frozen" | "hibernated" | "windows_bytes" | "available_bytes" | "cpu_percent") =>
    samples.map((sample) => sample[key]);
  const count = (value: number) => String(Math.round(value));
  const from = samples[0]?.time;
  return (
    <>
      <h1>Machine</h1>
      <dl class="facts">
        <dt>Memory</dt><dd>{bytes(machine.memory_bytes)}, {bytes(samples.at(-1)?.available_bytes)} left</dd>
        <dt>Windows</dt><dd>{shards.reduce((sum, shard) => sum + shard.windows, 0)} of {machine.max_live} at once</dd>
        <dt>Sessions</dt><dd>up to {machine.max_sessions}</dd>
        <dt>Processors</dt><dd>{machine.cores}</dd>
      </dl>
      <div class="charts">
        <Chart title="Sessions by tier" from={from} show={count}
          lines={[{ name: "live", values: over("live") }, { name: "frozen", values: over("frozen") }, { name: "hibernated", values: over("hibernated") }]} />
        <Chart title="Memory" from={from} show={bytes} most={machine.memory_bytes ?? undefined}
          lines={[{ name: "all windows", values: over("windows_bytes") }, { name: "left on the machine", values: over("available_bytes") }]} />
        <Chart title="Processors" from={from} most={100} show={(value) => `${Math.round(value)} %`}
          lines={[{ name: "busy", values: over("cpu_percent") }]} />
      </div>
      <h2>Browsers</h2>
      {shards.length === 0 ? <p>None runs: no session has a window.</p> : (
        <div class="scroll" role="region" aria-label="Browsers" tabIndex={0}><table>
          <thead><tr><th scope="col">Shard</th><th scope="col">Windows</th><th scope="col">Memory of its windows</th></tr></thead>
          <tbody>{shards.map((shard) => (
            <tr><th scope="row">{shard.shard}</th><td class="number">{shard.windows}</td><td class="number">{bytes(shard.memory_bytes)}</td></tr>
          ))}</tbody>
        </table></div>
      )}
      <h2>Levers</h2>
      <Levers />
    </>
  );
}
