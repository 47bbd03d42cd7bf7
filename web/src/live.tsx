// The live view: shows the page on a canvas, and sends input to it.
//
// Keyboard input goes to a hidden text field, so that input methods, pasting and phone keyboards work.
// Shift+Escape returns the keyboard to this page.

import { useEffect, useRef, useState } from "preact/hooks";
import { askOnLeaving, at, call, once, type Session } from "./api";

interface Tab { id: string; title: string; url: string; shown: boolean }
interface Dialog { kind: string; message: string; default_prompt: string }
interface LiveState { tabs: Tab[]; dialog: Dialog | null; viewers: number; quality: number; waiting: string | null; over: boolean }
interface List { chosen: number; options: { label: string; disabled: boolean }[] }

/** Duration of this page's hold unless renewed, in seconds. */
const HOLD_SECONDS = 90;

function modifiers(event: MouseEvent | KeyboardEvent): number {
  return (event.altKey ? 1 : 0) | (event.ctrlKey ? 2 : 0) | (event.metaKey ? 4 : 0) | (event.shiftKey ? 8 : 0);
}

/** The hold on the session after "Take over"; released at the latest when the page is closed. */
function TakeOver({ session, onSaid }: { session: Session; onSaid: (said: string) => void }) {
  const [hold, setHold] = useState<string>();
  const path = at(session.session_id, "/hold");
  useEffect(() => {
    if (!hold) return;
    const renew = () => call("POST", `${path}/${hold}`, { ttl: HOLD_SECONDS }).catch(() => setHold(undefined));
    const timer = window.setInterval(renew, (HOLD_SECONDS * 1000) / 3);
    const release = () => askOnLeaving("DELETE", `${path}/${hold}`);
    addEventListener("pagehide", release);
    return () => {
      window.clearInterval(timer);
      removeEventListener("pagehide", release);
      release();
    };
  }, [hold, path]);
  const take = async () => {
    try {
      const { hold_id } = await call<{ hold_id: string }>("POST", path, { ttl: HOLD_SECONDS, owner: "dashboard" });
      setHold(hold_id);
      onSaid("You hold the session until you release it.");
    } catch (error) {
      onSaid((error as Error).message);
    }
  };
  const giveBack = () => {
    setHold(undefined);
    onSaid("The session was released.");
  };
  return <button type="button" aria-pressed={Boolean(hold)} onClick={() => (hold ? giveBack() : void take())}>{hold ? "Release" : "Take over"}</button>;
}

function DialogBox({ dialog, send }: { dialog: Dialog; send: (wish: object) => void }) {
  const [text, setText] = useState(dialog.default_prompt);
  const answer = (accept: boolean) => send({ type: "dialog", accept, text: dialog.kind === "prompt" && accept ? text : null });
  return (
    <div class="asked" role="alertdialog" aria-label="Dialog of the page" aria-describedby="page-asks">
      <p id="page-asks">{dialog.message || "The page asks whether you want to leave it."}</p>
      {dialog.kind === "prompt" && <label>Answer <input value={text} autofocus onInput={(event) => setText(event.currentTarget.value)} /></label>}
      <p class="buttons">
        <button type="button" onClick={() => answer(true)}>OK</button>
        {dialog.kind !== "alert" && <button type="button" onClick={() => answer(false)}>Cancel</button>}
      </p>
    </div>
  );
}

export function LiveView({ session, onSaid }: { session: Session; onSaid: (said: string) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const keys = useRef<HTMLTextAreaElement>(null);
  const socket = useRef<WebSocket>(undefined);
  const viewport = useRef({ width: 1, height: 1 });
  const typed = useRef({ composing: false, clicks: 0, at: 0, x: 0, y: 0 });
  const [state, setState] = useState<LiveState>();
  const [list, setList] = useState<List>();
  const [address, setAddress] = useState<string>();
  const { session_id: id } = session;

  const send = (wish: object) => {
    if (socket.current?.readyState === WebSocket.OPEN) socket.current.send(JSON.stringify(wish));
  };

  useEffect(() => {
    let stopped = false;
    let timer: number | undefined;
    let turns = 0;
    const connect = async () => {
      // A hidden page needs no screenshots.
      if (stopped || document.hidden) return;
      const turn = (turns += 1);
      window.clearTimeout(timer);
      const address = await once(at(id, "/live")).catch(() => undefined);
      if (stopped || document.hidden || turn !== turns) return;
      if (!address) {
        timer = window.setTimeout(() => void connect(), 1000);
        return;
      }
      const live = new WebSocket(`${location.origin.replace(/^http/, "ws")}${address}`);
      live.binaryType = "arraybuffer";
      socket.current = live;
      let frame: { number: number; width: number; height: number } | undefined;
      live.onmessage = async ({ data }) => {
        if (typeof data !== "string") {
          const { number, width, height } = frame!;
          const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
          viewport.current = { width, height };
          const view = canvas.current;
          if (view) {
            if (view.width !== picture.width || view.height !== picture.height) [view.width, view.height] = [picture.width, picture.height];
            view.getContext("2d")?.drawImage(picture, 0, 0);
            view.dataset.number = String(number);
          }
          picture.close();
          if (live.readyState === WebSocket.OPEN) live.send(JSON.stringify({ type: "ack", number }));
          return;
        }
        const told = JSON.parse(data);
        if (told.type === "frame") frame = told;
        else if (told.type === "state") setState(told);
        else if (told.type === "select") setList(told);
        else if (told.type === "error") onSaid(told.message);
        else if (told.type === "clipboard") {
          navigator.clipboard?.writeText(told.text).then(() => onSaid("Copied."), () => onSaid("This browser does not allow the page to copy."));
        }
      };
      live.onclose = () => {
        if (socket.current !== live) return;
        setState(undefined);
        timer = window.setTimeout(() => void connect(), 1000);
      };
    };
    const seen = () => (document.hidden ? socket.current?.close() : void connect());
    document.addEventListener("visibilitychange", seen);
    void connect();
    return () => {
      stopped = true;
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
      socket.current?.close();
      socket.current = undefined;
    };
  }, [id]);

  useEffect(() => {
    const view = canvas.current!;
    const point = (event: { clientX: number; clientY: number }) => {
      const box = view.getBoundingClientRect();
      return {
        x: ((event.clientX - box.left) / box.width) * viewport.current.width,
        y: ((event.clientY - box.top) / box.height) * viewport.current.height,
      };
    };
    const mouse = (kind: string) => (event: PointerEvent) => {
      if (event.pointerType === "touch") return;
      event.preventDefault();
      const { x, y } = point(event);
      const last = typed.current;
      if (kind === "pressed") {
        keys.current?.focus({ preventScroll: true });
        view.setPointerCapture(event.pointerId);
        const again = event.timeStamp - last.at < 400 && Math.hypot(x - last.x, y - last.y) < 5;
        typed.current = { ...last, clicks: again ? last.clicks + 1 : 1, at: event.timeStamp, x, y };
      }
      const clicks = kind === "moved" ? 0 : typed.current.clicks;
      const button = kind === "moved" ? (event.buttons & 1 ? 0 : event.buttons & 2 ? 2 : -1) : event.button;
      send({ type: "mouse", kind, x, y, button, buttons: event.buttons & 7, clicks, modifiers: modifiers(event) });
    };
    const touch = (kind: string) => (event: TouchEvent) => {
      event.preventDefault();
      keys.current?.focus({ preventScroll: true });
      send({ type: "touch", kind, points: [...event.touches].map((finger) => Object.values(point(finger))) });
    };
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      send({ type: "mouse", kind: "wheel", ...point(event), modifiers: modifiers(event), delta_x: event.deltaX, delta_y: event.deltaY });
    };
    const handlers: [string, (event: never) => void][] = [
      ["pointermove", mouse("moved")], ["pointerdown", mouse("pressed")], ["pointerup", mouse("released")],
      ["touchstart", touch("start")], ["touchmove", touch("move")], ["touchend", touch("end")], ["touchcancel", touch("cancel")],
      ["wheel", wheel], ["contextmenu", (event: Event) => event.preventDefault()],
    ];
    for (const [kind, handler] of handlers) view.addEventListener(kind, handler as EventListener, { passive: false });
    return () => {
      for (const [kind, handler] of handlers) view.removeEventListener(kind, handler as EventListener);
    };
  }, []);

  const key = (down: boolean) => (event: KeyboardEvent) => {
    if (event.isComposing || event.key === "Process" || event.key === "Unidentified") return;
    if (event.key === "Escape" && event.shiftKey) {
      if (down) document.getElementById("live-tools")?.querySelector<HTMLElement>("input, button")?.focus();
      return;
    }
    const command = event.ctrlKey || event.metaKey;
    // Pasted text comes with the paste event.
    if (command && event.code === "KeyV") return;
    if (command && down && (event.code === "KeyC" || event.code === "KeyX")) send({ type: "copy" });
    event.preventDefault();
    const text = event.key === "Enter" ? "\r" : event.key.length === 1 && !command && !event.altKey ? event.key : null;
    send({
      type: "key", down, key: event.key, code: event.code, key_code: event.keyCode, text: down ? text : null,
      location: event.location, modifiers: modifiers(event),
    });
  };
  const put = (text: string) => {
    if (text) send({ type: "text", text });
    if (keys.current) keys.current.value = "";
  };

  const shown = state?.tabs.find((tab) => tab.shown);
  return (
    <section class="live" aria-label="Live view">
      <div class="bar" id="live-tools">
        <button type="button" aria-label="Back" onClick={() => send({ type: "back" })}>←</button>
        <button type="button" aria-label="Forward" onClick={() => send({ type: "forward" })}>→</button>
        <button type="button" aria-label="Reload" onClick={() => send({ type: "reload" })}>⟳</button>
        <form class="address" onSubmit={(event) => {
          event.preventDefault();
          const url = address ?? "";
          send({ type: "navigate", url: /^[a-z]+:/i.test(url) ? url : `https://${url}` });
          setAddress(undefined);
        }}>
          <input aria-label="Address" value={address ?? shown?.url ?? ""} spellcheck={false} autocapitalize="off"
            onInput={(event) => setAddress(event.currentTarget.value)} />
        </form>
        <TakeOver session={session} onSaid={onSaid} />
      </div>
      <ul class="tabs" aria-label="Tabs">
        {state?.tabs.map((tab) => (
          <li><button type="button" aria-pressed={tab.shown} onClick={() => send({ type: "tab", id: tab.id })}>{tab.title || tab.url}</button>
            {state.tabs.length > 1 && <button type="button" aria-label={`Close tab ${tab.title || tab.url}`} onClick={() => send({ type: "close_tab", id: tab.id })}>×</button>}</li>
        ))}
        <li><button type="button" aria-label="New tab" onClick={() => send({ type: "new_tab" })}>+</button></li>
      </ul>
      <div class="screen">
        <canvas ref={canvas} width={1280} height={800} role="img" aria-label={`Live view of the page ${shown?.title ?? ""}`} />
        <textarea ref={keys} class="keys" aria-label="Keyboard input for the page; press Shift+Escape to leave" autocomplete="off" autocapitalize="off" spellcheck={false}
          onKeyDown={key(true)} onKeyUp={key(false)}
          onInput={(event) => (event as InputEvent).isComposing || put(event.currentTarget.value)}
          onCompositionEnd={(event) => put(event.data)}
          onPaste={(event) => { event.preventDefault(); put(event.clipboardData?.getData("text/plain") ?? ""); }} />
        {state?.dialog && <DialogBox key={state.dialog.message} dialog={state.dialog} send={send} />}
        {list && (
          <div class="asked" role="dialog" aria-label="Select list">
            <label>Choose <select autofocus value={String(list.chosen)} size={Math.min(list.options.length, 10)}
              onChange={(event) => { send({ type: "choose", index: Number(event.currentTarget.value) }); setList(undefined); keys.current?.focus(); }}>
              {list.options.map((option, index) => <option value={String(index)} disabled={option.disabled}>{option.label}</option>)}
            </select></label>
            <button type="button" onClick={() => setList(undefined)}>Cancel</button>
          </div>
        )}
      </div>
      <p class="notice" role="status">
        {!state ? "Connecting …" : state.waiting ?? `${state.viewers} ${state.viewers === 1 ? "viewer" : "viewers"}, quality ${state.quality}. Click into the view to type; press Shift+Escape to leave.`}
      </p>
    </section>
  );
}
