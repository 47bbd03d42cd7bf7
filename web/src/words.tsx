// Formats states, times and sizes.

import { useEffect, useState } from "preact/hooks";
import type { State } from "./api";

export const STATES: Record<State, [sign: string, word: string]> = {
  starting: ["◔", "Starting"],
  signing_in: ["⇢", "Signing in"],
  ready: ["●", "Ready"],
  frozen: ["❄", "Frozen"],
  hibernated: ["☾", "Hibernated"],
  recovering: ["↻", "Recovering"],
  needs_attention: ["!", "Needs attention"],
  ended: ["×", "Ended"],
};

export function StateBadge({ state }: { state: State }) {
  const [sign, word] = STATES[state] ?? ["?", state];
  return <span class={`state ${state}`}><span aria-hidden="true">{sign}</span> {word}</span>;
}

export function bytes(count: number | null | undefined): string {
  if (count === null || count === undefined) return "–";
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = count / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** One timer for all labels. */
const ticking = new Set<() => void>();
window.setInterval(() => ticking.forEach((tick) => tick()), 5000);

/** A time relative to now. */
export function Ago({ time }: { time: string | null }) {
  const [, setCount] = useState(0);
  useEffect(() => {
    const tick = () => setCount((count) => count + 1);
    ticking.add(tick);
    return () => void ticking.delete(tick);
  }, []);
  if (!time) return <span>never</span>;
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  const text = Math.abs(seconds) < 5 ? "now" : seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
  return <time dateTime={time} title={new Date(time).toLocaleString()}>{text}</time>;
}
