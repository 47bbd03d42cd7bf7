//! A page in the live view: pictures of its changes, and input of a person.
//!
//! Nothing here waits for the page longer than necessary: a dialog, which delays all replies of the page, ends the
//! wait for the click that opened it. Typed text is never logged.

mod select;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use pilotlight_cdp::protocol::input::{
    ClipboardKey, DispatchKeyEvent, DispatchMouseEvent, DispatchTouchEvent, InsertText, TouchPoint,
    clipboard_key,
};
use pilotlight_cdp::protocol::page::{
    GetNavigationHistory, HandleJavaScriptDialog, NavigateToHistoryEntry, ScreencastFrame,
    ScreencastFrameAck, StartScreencast, StopScreencast,
};
use pilotlight_cdp::protocol::target::CreateTarget;
use pilotlight_cdp::{Command, Scope, Subscription};
use tokio::time::sleep;

use crate::call::{close_page, look_at, send, set_up};
use crate::dialogs::{self, AnsweredBy};
use crate::error::WindowError;
use crate::state::{Shard, Tab, WindowState, lock};
use crate::window::{COMMAND_TIMEOUT, Window, check_url, navigate_tab};

pub use crate::state::Dialog;
pub use select::{SelectList, SelectOption};

/// How long a page may take to handle an input event.
const INPUT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a page may take to load on a person's command.
const NAVIGATE_TIMEOUT: Duration = Duration::from_secs(60);
/// Events of a page that may wait: pictures arrive one at a time.
const CAST_QUEUE: usize = 1024;

/// Pictures that Chromium sends before the first of them is acknowledged (`kMaxScreencastFramesInFlight` in
/// `content/browser/devtools/protocol/page_handler.cc`).
const FRAMES_IN_FLIGHT: usize = 2;

/// The options of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// The quality of JPEG, up to 100.
    pub jpeg: u8,
    /// The longest side in pixels.
    pub side_max: u32,
}

/// A picture of a page.
#[derive(Debug, Clone)]
pub struct Frame {
    /// JPEG.
    pub picture: Bytes,
    /// The viewport's width, in CSS pixels.
    pub width: f64,
    /// The viewport's height, in CSS pixels.
    pub height: f64,
    number: i64,
}

impl Frame {
    /// Returns its length as Base64 in the message.
    fn wire_bytes(&self) -> usize {
        self.picture.len().div_ceil(3) * 4
    }
}

/// Pictures of a page as it changes. Chromium sends the next one only once the last one was acknowledged. Ends when
/// dropped.
#[derive(Debug)]
pub struct Cast {
    page: LivePage,
    events: Subscription,
    stopped: bool,
}

impl Cast {
    /// Returns the next picture; `None` once the page or its browser has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let event = self.events.next().await?;
            let Some(frame) = event.read::<ScreencastFrame>() else { continue };
            let Ok(picture) = BASE64_STANDARD.decode(frame.data) else { continue };
            let (width, height) = (frame.metadata.device_width, frame.metadata.device_height);
            return Some(Frame { picture: picture.into(), width, height, number: frame.session_id });
        }
    }

    /// Ends it, and returns once it has ended, so that another one may begin.
    pub async fn stop(mut self) {
        let LivePage { shard, tab, .. } = &self.page;
        self.stopped = true;
        // If the page is closed, its pictures have ended as well.
        drop(tab.call(&shard.connection, &tab.session, StopScreencast {}, COMMAND_TIMEOUT).await);
    }

    /// Requests the next picture, immediately or, in a shared browser, as soon as its load permits.
    pub fn acknowledge(&self, frame: &Frame) {
        let LivePage { shard, tab, .. } = &self.page;
        let (connection, session) = (shard.connection.clone(), tab.session.clone());
        let (number, pause) = (frame.number, connection.pace(FRAMES_IN_FLIGHT * frame.wire_bytes()));
        tokio::spawn(async move {
            sleep(pause).await;
            set_up(&connection, &session, ScreencastFrameAck { session_id: number }).await;
        });
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        if !self.stopped && tokio::runtime::Handle::try_current().is_ok() {
            send(&self.page.shard.connection, &self.page.tab.session, StopScreencast {});
        }
    }
}

/// While one of these exists, dialogs of the window wait for a person. After the last one is dropped they get the
/// default answer.
#[derive(Debug)]
pub struct Steering {
    window: Window,
}

impl Steering {
    /// Returns whether it belongs to this window.
    #[must_use]
    pub fn is_of(&self, window: &Window) -> bool {
        Arc::ptr_eq(&self.window.state, &window.state)
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        if self.window.state.steered.fetch_sub(1, Ordering::AcqRel) == 1 {
            dialogs::person_left(&self.window.shard, &self.window.state);
        }
    }
}

/// The kind of a mouse event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mouse {
    /// The mouse moves.
    Moved,
    /// A button is pressed.
    Pressed,
    /// A button is released.
    Released,
    /// The wheel turns, by this many CSS pixels to the right and down.
    Wheel(f64, f64),
}

/// A mouse event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MouseInput {
    /// Its kind.
    pub mouse: Mouse,
    /// CSS pixels from the left of the viewport.
    pub x: f64,
    /// CSS pixels from the top of the viewport.
    pub y: f64,
    /// `none`, `left`, `middle`, `right`, `back` or `forward`.
    pub button: &'static str,
    /// Buttons that are down: 1 left, 2 right, 4 middle.
    pub buttons: u8,
    /// The number of this click in a series.
    pub clicks: u8,
    /// Modifier keys: 1 Alt, 2 Control, 4 Meta, 8 Shift.
    pub modifiers: u8,
}

/// A key event.
#[derive(Clone)]
pub struct KeyInput {
    /// Whether the key is pressed or released.
    pub down: bool,
    /// `KeyboardEvent.key`.
    pub key: String,
    /// `KeyboardEvent.code`.
    pub code: String,
    /// `KeyboardEvent.keyCode`.
    pub key_code: u16,
    /// The text that it types, if any.
    pub text: Option<String>,
    /// 1 left, 2 right, 3 numeric pad.
    pub location: u8,
    /// Modifier keys: 1 Alt, 2 Control, 4 Meta, 8 Shift.
    pub modifiers: u8,
}

/// Keys can be part of passwords.
impl std::fmt::Debug for KeyInput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyInput").finish_non_exhaustive()
    }
}

/// A page of a window.
#[derive(Debug, Clone)]
pub struct LivePage {
    shard: Arc<Shard>,
    window: Arc<WindowState>,
    tab: Arc<Tab>,
}

impl Window {
    /// Returns the page with this id; if there is none, the one in front.
    #[must_use]
    pub fn live_page(&self, target: Option<&str>) -> Option<LivePage> {
        let front = lock(&self.state.front).clone();
        let tabs = self.state.tabs.borrow();
        let find = |target: Option<&str>| tabs.iter().find(|tab| Some(tab.target.as_str()) == target);
        let tab = find(target).or_else(|| find(front.as_deref())).or_else(|| tabs.first())?;
        let (shard, window) = (Arc::clone(&self.shard), Arc::clone(&self.state));
        Some(LivePage { shard, window, tab: Arc::clone(tab) })
    }

    /// Opens another page, in front.
    ///
    /// # Errors
    /// If Chromium refuses.
    pub async fn open_page(&self) -> Result<(), WindowError> {
        let create = CreateTarget {
            url: "about:blank".into(),
            browser_context_id: self.state.id.as_str().into(),
            new_window: false,
        };
        self.shard.connection.call_within(None, create, COMMAND_TIMEOUT).await?;
        Ok(())
    }

    /// Has dialogs wait for a person, until the guard is dropped.
    #[must_use]
    pub fn steer(&self) -> Steering {
        self.state.steered.fetch_add(1, Ordering::AcqRel);
        Steering { window: self.clone() }
    }
}

impl LivePage {
    /// Returns Chromium's id of the page.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.tab.target
    }

    /// Brings it to the front.
    ///
    /// # Errors
    /// If the page is lost.
    pub async fn bring_to_front(&self) -> Result<(), WindowError> {
        Window::new(Arc::clone(&self.shard), Arc::clone(&self.window)).bring_to_front(&self.tab).await
    }

    /// Returns the dialog that waits for a person.
    #[must_use]
    pub fn dialog(&self) -> Option<Dialog> {
        self.tab.status.borrow().dialog.as_ref().and_then(|open| open.question().cloned())
    }

    /// Returns whether it shows a dialog, whoever has to answer it.
    #[must_use]
    pub fn shows_dialog(&self) -> bool {
        self.tab.status.borrow().dialog.is_some()
    }

    /// Begins to send pictures of it.
    ///
    /// # Errors
    /// If the page is lost, or pictures are already being sent.
    pub async fn cast(&self, quality: Quality) -> Result<Cast, WindowError> {
        self.bring_to_front().await?;
        let events = self.shard.connection.subscribe(Scope::Session(self.tab.session.clone()), CAST_QUEUE);
        let start = StartScreencast {
            format: "jpeg",
            quality: quality.jpeg,
            max_width: quality.side_max,
            max_height: quality.side_max,
            every_nth_frame: 1,
        };
        let (connection, session) = (&self.shard.connection, &self.tab.session);
        // A stream of an earlier server continues with the page's session.
        self.tab.call(connection, session, StopScreencast {}, COMMAND_TIMEOUT).await?;
        self.tab.call(connection, session, start, COMMAND_TIMEOUT).await?;
        Ok(Cast { page: self.clone(), events, stopped: false })
    }

    /// Sends an event to the page and waits until it was handled, or a dialog was opened by it.
    async fn dispatch<C: Command>(&self, command: C) -> Result<(), WindowError> {
        let sent = self.tab.call(&self.shard.connection, &self.tab.session, command, INPUT_TIMEOUT);
        tokio::select! {
            reply = sent => reply.map(drop),
            asked = self.tab.wait_for(INPUT_TIMEOUT, |status| status.dialog.is_some()) => asked,
        }
    }

    /// Sends a mouse event.
    ///
    /// # Errors
    /// If the page is lost or does not handle it in time.
    pub async fn mouse(&self, input: MouseInput) -> Result<(), WindowError> {
        let (kind, wheel) = match input.mouse {
            Mouse::Moved => ("mouseMoved", None),
            Mouse::Pressed => ("mousePressed", None),
            Mouse::Released => ("mouseReleased", None),
            Mouse::Wheel(x, y) => ("mouseWheel", Some((x, y))),
        };
        self.dispatch(DispatchMouseEvent {
            kind,
            x: input.x,
            y: input.y,
            modifiers: input.modifiers,
            button: input.button,
            click_count: input.clicks,
            buttons: Some(input.buttons),
            delta_x: wheel.map(|(x, _)| x),
            delta_y: wheel.map(|(_, y)| y),
        })
        .await
    }

    /// Sends a key event.
    ///
    /// # Errors
    /// As [`Self::mouse`].
    pub async fn key(&self, input: KeyInput) -> Result<(), WindowError> {
        const CONTROL: u8 = 2;
        let selects_all = input.down && input.modifiers == CONTROL && input.code == "KeyA";
        // The browser's clipboard is shared by all windows: viewers have one of their own, to copy into and paste
        // from.
        let clipboard = clipboard_key(&input.key, input.key_code.into(), input.modifiers.into());
        let clipboard = clipboard.filter(|_| input.down);
        if matches!(clipboard, Some(ClipboardKey::Copy | ClipboardKey::Paste)) {
            return Ok(());
        }
        let commands = match clipboard {
            Some(_) => vec!["delete"],
            None if selects_all => vec!["selectAll"],
            None => Vec::new(),
        };
        let text = input.text.filter(|_| input.down);
        self.dispatch(DispatchKeyEvent {
            kind: match (input.down, &text) {
                (false, _) => "keyUp",
                (true, Some(_)) => "keyDown",
                (true, None) => "rawKeyDown",
            },
            modifiers: input.modifiers,
            text,
            key: input.key,
            code: input.code,
            windows_virtual_key_code: input.key_code,
            location: input.location,
            commands,
        })
        .await
    }

    /// Inserts text at the cursor, as pasting or an input method does.
    ///
    /// # Errors
    /// As [`Self::mouse`].
    pub async fn insert_text(&self, text: String) -> Result<(), WindowError> {
        self.dispatch(InsertText { text }).await
    }

    /// Sends a touch event: `touchStart`, `touchMove`, `touchEnd` or `touchCancel`, with the present touch points.
    ///
    /// # Errors
    /// As [`Self::mouse`].
    pub async fn touch(&self, kind: &'static str, points: &[(f64, f64)]) -> Result<(), WindowError> {
        let touch_points = points.iter().map(|&(x, y)| TouchPoint { x, y }).collect();
        self.dispatch(DispatchTouchEvent { kind, touch_points }).await
    }

    /// Answers the waiting dialog.
    ///
    /// # Errors
    /// If none waits.
    pub async fn answer(&self, accept: bool, text: Option<String>) -> Result<(), WindowError> {
        dialogs::note(&self.tab, AnsweredBy::Person);
        let answer = HandleJavaScriptDialog { accept, prompt_text: text };
        let sent = self.tab.call(&self.shard.connection, &self.tab.session, answer, INPUT_TIMEOUT);
        sent.await.map(drop)
    }

    /// Navigates to `url`; returns once it has loaded.
    ///
    /// # Errors
    /// As [`Window::navigate`].
    pub async fn navigate(&self, url: &str) -> Result<(), WindowError> {
        check_url(url)?;
        navigate_tab(&self.shard, &self.tab, url, NAVIGATE_TIMEOUT).await?;
        look_at(&self.shard, &self.window, &self.tab).await;
        Ok(())
    }

    /// Reloads the page, by a GET.
    ///
    /// # Errors
    /// As [`Window::reload`].
    pub async fn reload(&self) -> Result<(), WindowError> {
        crate::window::reload_tab(&self.shard, &self.tab, NAVIGATE_TIMEOUT).await
    }

    /// Goes back (-1) or forward (1) in the history if possible.
    ///
    /// # Errors
    /// If the page is lost.
    pub async fn travel(&self, by: i32) -> Result<(), WindowError> {
        let (connection, session) = (&self.shard.connection, &self.tab.session);
        let history = self.tab.call(connection, session, GetNavigationHistory {}, COMMAND_TIMEOUT).await?;
        let wanted = usize::try_from(history.current_index + i64::from(by)).ok();
        if let Some(entry) = wanted.and_then(|index| history.entries.get(index)) {
            self.dispatch(NavigateToHistoryEntry { entry_id: entry.id }).await?;
        }
        Ok(())
    }

    /// Closes the page. The last page of a window stays open.
    pub fn close(&self) {
        if self.window.tabs.borrow().len() > 1 {
            close_page(&self.shard, self.tab.target.clone());
        }
    }
}
