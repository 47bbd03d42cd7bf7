// Small parts that several views use.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { at, routes, type Session } from "./api";

/** A question with two answers; focus stays in it. */
export function Question({ text, yes, onAnswer }: { text: string; yes: string; onAnswer: (yes: boolean) => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const answer = (yes: boolean) => {
    // Closed before it goes, so that the focus returns to where it was.
    dialog.current?.close();
    onAnswer(yes);
  };
  return (
    <dialog ref={dialog} aria-labelledby="question" onCancel={(event) => { event.preventDefault(); answer(false); }}>
      <p id="question">{text}</p>
      <p class="buttons">
        <button type="button" class="danger" onClick={() => answer(true)}>{yes}</button>
        <button type="button" autofocus onClick={() => answer(false)}>Cancel</button>
      </p>
    </dialog>
  );
}

/** The routes of this server, once they are known. */
export function useRoutes(): Set<string> | undefined {
  const [known, setKnown] = useState<Set<string>>();
  useEffect(() => {
    routes().then(setKnown, () => setKnown(undefined));
  }, []);
  return known;
}

/** How old a picture may become before it is asked for again. */
const PICTURE_MS = 50_000;

/** What the page shows, while the picture is in sight. It wakes nobody. */
export function Thumbnail({ session }: { session: Session }) {
  const box = useRef<HTMLDivElement>(null);
  const [source, setSource] = useState<string>();
  const { session_id: id, shard, url } = session;
  useEffect(() => {
    if (!shard || !box.current) return setSource(undefined);
    let inSight = false;
    let asked = 0;
    const ask = () => {
      if (!inSight || document.hidden || Date.now() - asked < PICTURE_MS) return;
      asked = Date.now();
      const picture = new Image();
      const address = `${at(id, "/thumbnail")}?at=${asked}`;
      picture.onload = () => setSource(address);
      picture.src = address;
    };
    const watcher = new IntersectionObserver((entries) => {
      inSight = entries.some((entry) => entry.isIntersecting);
      ask();
    });
    watcher.observe(box.current);
    const timer = window.setInterval(ask, 5000);
    return () => {
      watcher.disconnect();
      window.clearInterval(timer);
    };
  }, [id, shard, url]);
  return (
    <div class="thumbnail" ref={box}>
      {source && shard ? <img src={source} alt="" /> : <span aria-hidden="true">{shard ? "…" : "no window"}</span>}
    </div>
  );
}

export function Notice({ children }: { children: ComponentChildren }) {
  return <p class="notice" role="status" aria-live="polite">{children}</p>;
}

export function nameOf(session: Session): string {
  return session.name ?? session.username ?? session.session_id.slice(0, 8);
}
