// Formats states, times and sizes.

import { useEffect, useState } from "preact/hooks";
import type { SignIn, SignInStatus, State } from "./api";

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

const SIGN_INS: Record<SignInStatus, string> = {
  signed_in: "Signed in",
  signed_out: "Signed out",
  unknown: "Unknown",
  refused: "Rejected by the portal",
  person_needed: "A person is needed",
};

const HOW: Record<NonNullable<SignIn["how"]>, string> = {
  conditions: "by the site's conditions",
  sign_in: "by a sign-in",
  refresh: "by a refresh",
  no_conditions: "no conditions to tell",
  password_field: "its page shows a password field",
  moved: "its page has moved to another address",
};

export const signInWord = ({ status }: SignIn): string => SIGN_INS[status] ?? status;

export const signInHow = ({ how }: SignIn): string => (how ? HOW[how] ?? how : "not checked yet");

/** Whether the session is signed in, and when that was checked. */
export function SignInText({ signIn }: { signIn: SignIn }) {
  return <span class={`sign-in-status ${signIn.status}`} title={signInHow(signIn)}>{signInWord(signIn)}{signIn.checked_at && <>, checked <Ago time={signIn.checked_at} /></>}</span>;
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
