// Components that several views use.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { at, once, picture, routes, type Session } from "./api";

/** A modal question with two answers. */
export function Question({ text, yes, onAnswer }: { text: string; yes: string; onAnswer: (yes: boolean) => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const answer = (yes: boolean) => {
    // Closed before it is removed, so that the focus returns to where it was.
    dialog.current?.close();
    onAnswer(yes);
  };
  return (
    <dialog ref={dialog} aria-labelledby="question" onCancel={(event) => { event.preventDefault(); answer(false); }}>
      <p id="question">{text}</p>
      <p class="buttons">
        <button type="button" class="danger" onClick={() => answer(true)}>{yes}</button>
        <button type="button" autofocus onClick={() => answer(false)}>Go back</button>
      </p>
    </dialog>
  );
}

/** Returns the routes of this server, once they are known. */
export function useRoutes(): Set<string> | undefined {
  const [known, setKnown] = useState<Set<string>>();
  useEffect(() => {
    routes().then(setKnown, () => setKnown(undefined));
  }, []);
  return known;
}

/** Age at which a screenshot is fetched again. */
const PICTURE_MS = 50_000;

/** A screenshot of the page, updated while visible. Does not wake the session. */
export function Thumbnail({ session }: { session: Session }) {
  const box = useRef<HTMLDivElement>(null);
  const [source, setSource] = useState<string>();
  const { session_id: id, shard, url } = session;
  useEffect(() => {
    if (!shard || !box.current) return setSource(undefined);
    let inSight = false;
    let asked = 0;
    let gone = false;
    let shown: string | undefined;
    const ask = async () => {
      if (!inSight || document.hidden || Date.now() - asked < PICTURE_MS) return;
      asked = Date.now();
      const fresh = await picture(at(id, "/thumbnail"));
      if (!fresh) return;
      if (gone) return URL.revokeObjectURL(fresh);
      if (shown) URL.revokeObjectURL(shown);
      setSource((shown = fresh));
    };
    const watcher = new IntersectionObserver((entries) => {
      inSight = entries.some((entry) => entry.isIntersecting);
      void ask();
    });
    watcher.observe(box.current);
    const timer = window.setInterval(() => void ask(), 5000);
    return () => {
      gone = true;
      if (shown) URL.revokeObjectURL(shown);
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

/** An image that is fetched when it becomes visible, and opens in a new tab. */
export function Picture({ path, alt }: { path: string; alt: string }) {
  const link = useRef<HTMLAnchorElement>(null);
  const [source, setSource] = useState<string>();
  useEffect(() => {
    let gone = false;
    let shown: string | undefined;
    const watcher = new IntersectionObserver(async (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      const fresh = await picture(path);
      if (fresh && gone) URL.revokeObjectURL(fresh);
      else setSource((shown = fresh));
    });
    watcher.observe(link.current!);
    return () => {
      gone = true;
      watcher.disconnect();
      if (shown) URL.revokeObjectURL(shown);
    };
  }, [path]);
  return <a ref={link} href={source} target="_blank" rel="noopener"><img src={source} alt={alt} /></a>;
}

/** A link that saves a file. */
export function Download({ path, children }: { path: string; children: ComponentChildren }) {
  const save = async (event: MouseEvent) => {
    event.preventDefault();
    const address = await once(path).catch(() => undefined);
    if (!address) return;
    const link = document.createElement("a");
    link.href = address;
    link.download = "";
    link.click();
  };
  return <a href={path} download onClick={(event) => void save(event)}>{children}</a>;
}

export function Notice({ children }: { children: ComponentChildren }) {
  return <p class="notice" role="status" aria-live="polite">{children}</p>;
}

export function nameOf(session: Session): string {
  return session.name ?? session.username ?? session.session_id.slice(0, 8);
}
