// The load of the machine, now and over the last hour.

import { useEffect, useState } from "preact/hooks";
import { call, type Machine, type MachineCheck, type Sample, type Taken } from "./api";
import { Chart } from "./chart";
import { bytes } from "./words";

const EVERY_MS = 5000;

/** The machine checks: first what is missing, with instructions, then what is present. */
function MachineChecks() {
  const [checks, setChecks] = useState<MachineCheck[]>();
  useEffect(() => {
    call<{ checks: MachineCheck[] }>("GET", "/doctor").then((answer) => setChecks(answer.checks), () => setChecks([]));
  }, []);
  if (!checks) return <p>Loading …</p>;
  const words = (name: string) => name.replaceAll("_", " ");
  const there = checks.filter((check) => check.state === "present");
  return (
    <>
      <ul class="checks">{checks.filter((check) => check.state !== "present").map((check) => (
        <li><strong>{words(check.name)}</strong> {check.state}: {check.found}. Benefit: {check.benefit}.{check.fix && <pre tabIndex={0}>{check.fix}</pre>}</li>
      ))}</ul>
      {there.length > 0 && <p>Present: {there.map((check) => words(check.name)).join(", ")}.</p>}
    </>
  );
}

/** Memory by use; hibernated sessions are only on disk. */
function Memory({ taken, sample }: { taken: Taken; sample: Sample | undefined }) {
  const { budget_bytes, used_bytes, live_bytes, frozen_bytes } = taken;
  const rows: [name: string, sessions: number | undefined, held: number][] = [
    ["Live windows", sample?.live, live_bytes],
    ["Frozen windows", sample?.frozen, frozen_bytes],
    ["Hibernated sessions", sample?.hibernated, 0],
    ["Browsers without their windows", undefined, Math.max(used_bytes - live_bytes - frozen_bytes, 0)],
    ["All browsers", undefined, used_bytes],
    ["Server and shims", undefined, taken.server_bytes + taken.shims_bytes],
  ];
  return (
    <>
      <h2>Memory</h2>
      <p>Browsers use {bytes(used_bytes)} of their budget of {bytes(budget_bytes)}. {bytes(taken.swapped_bytes)} of their memory is
        swapped out{taken.swapped_bytes > 0 && <>, compressed to {bytes(taken.compressed_bytes)}</>}.</p>
      <meter aria-label="Used part of the memory budget" min={0} max={budget_bytes} high={budget_bytes * 0.9} value={used_bytes} />
      <div class="scroll" role="region" aria-label="Memory by use" tabIndex={0}><table>
        <thead><tr><th scope="col">Used by</th><th scope="col" class="number">Sessions</th><th scope="col" class="number">Memory</th></tr></thead>
        <tbody>{rows.map(([name, sessions, held]) => (
          <tr><th scope="row">{name}</th><td class="number">{sessions}</td><td class="number">{bytes(held)}</td></tr>
        ))}</tbody>
      </table></div>
    </>
  );
}

export function MachineView() {
  const [machine, setMachine] = useState<Machine>();
  useEffect(() => {
    const look = () => document.hidden || void call<Machine>("GET", "/machine").then(setMachine, () => undefined);
    look();
    const timer = window.setInterval(look, EVERY_MS);
    return () => window.clearInterval(timer);
  }, []);
  if (!machine) return <><h1>Machine</h1><p role="status">Loading …</p></>;
  const { samples, shards } = machine;
  const over = (key: "live" | "frozen" | "hibernated" | "windows_bytes" | "used_bytes" | "budget_bytes" | "available_bytes" | "cpu_percent") =>
    samples.map((sample) => sample[key]);
  const count = (value: number) => String(Math.round(value));
  const from = samples[0]?.time;
  return (
    <>
      <h1>Machine</h1>
      <dl class="facts">
        <dt>Memory</dt><dd>{bytes(machine.memory_bytes)}, {bytes(samples.at(-1)?.available_bytes)} available</dd>
        <dt>Windows</dt><dd>{shards.reduce((sum, shard) => sum + shard.windows, 0)} of {machine.max_live} at the same time</dd>
        <dt>Sessions</dt><dd>up to {machine.max_sessions}</dd>
        <dt>Processors</dt><dd>{machine.cores}</dd>
      </dl>
      <div class="charts">
        <Chart title="Sessions by state" from={from} show={count}
          lines={[{ name: "live", values: over("live") }, { name: "frozen", values: over("frozen") }, { name: "hibernated", values: over("hibernated") }]} />
        <Chart title="Memory" from={from} show={bytes} most={machine.memory_bytes ?? undefined}
          lines={[
            { name: "all browsers", values: over("used_bytes") }, { name: "all windows", values: over("windows_bytes") },
            { name: "budget", values: over("budget_bytes") }, { name: "available on the machine", values: over("available_bytes") },
          ]} />
        <Chart title="Processors" from={from} most={100} show={(value) => `${Math.round(value)} %`}
          lines={[{ name: "busy", values: over("cpu_percent") }]} />
      </div>
      {machine.taken && <Memory taken={machine.taken} sample={samples.at(-1)} />}
      <h2>Browsers</h2>
      {shards.length === 0 ? <p>No browser is running: no session has a window.</p> : (
        <div class="scroll" role="region" aria-label="Browsers" tabIndex={0}><table>
          <thead><tr><th scope="col">Shard</th><th scope="col" class="number">Windows</th><th scope="col" class="number">Memory of its windows</th></tr></thead>
          <tbody>{shards.map((shard) => (
            <tr><th scope="row">{shard.shard}</th><td class="number">{shard.windows}</td><td class="number">{bytes(shard.memory_bytes)}</td></tr>
          ))}</tbody>
        </table></div>
      )}
      <h2>Machine checks</h2>
      <MachineChecks />
    </>
  );
}
