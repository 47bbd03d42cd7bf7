//! The state of a browser's windows and tabs.
//!
//! The driver writes what Chromium's events report, in order: the existing pages and frames, and their status. Code
//! that changes something in a window writes that change: which page is in front, whether the window is frozen, in
//! the live view or closing, its clients, the progress of captures. All other code reads and waits. Locks are never
//! held across an await.

mod clients;
mod dialog;
mod emptied;
mod hidden;
mod record;
mod spare;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use pilotlight_cdp::{Command, Connection, SessionId};
use pilotlight_checkpoint::Tab as KeptTab;
use pilotlight_linux::Seen;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::error::WindowError;
use crate::event::{BrowserEvent, WindowId};
use crate::limits::{CLIENTS_MAX, VALUES_AT_ONCE};
use crate::proxy::Credentials;

pub use clients::NewPage;
pub(crate) use clients::{ClientContexts, Clients, announce_in_context};
pub use dialog::Dialog;
pub(crate) use dialog::{Answers, ExpectedDialogs, OpenDialog};
pub(crate) use emptied::Emptied;
pub(crate) use hidden::{BLANK, STUB_PATH, Sorted, is_stub};
pub(crate) use record::{Record, is_of_the_web, mark_changed, remind, shown};
pub(crate) use spare::{Spare, Viewport};

/// A navigation that a page requested counts as pending for this long, unless it starts or ends before.
const REQUESTED_NAVIGATION_GRACE: Duration = Duration::from_millis(500);

/// Documents of a page that are distinguished: enough for a chain of redirects by script.
const REMEMBERED_LOADERS: usize = 16;

/// A summary of a window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WindowSummary {
    /// The URL of its first tab.
    pub url: String,
    /// The title of its first tab.
    pub title: String,
    /// The number of tabs and popups.
    pub tabs: usize,
}

/// One window.
#[derive(Debug)]
pub(crate) struct WindowState {
    pub(crate) id: WindowId,
    /// The set-up that every page of the window gets before it runs.
    pub(crate) viewport: Option<(u32, u32)>,
    pub(crate) credentials: Option<Credentials>,
    /// Oldest first; the first is the main one.
    pub(crate) tabs: watch::Sender<Vec<Arc<Tab>>>,
    pub(crate) summary: watch::Sender<WindowSummary>,
    /// The tab in front, if known.
    pub(crate) front: Mutex<Option<String>>,
    pub(crate) closing: AtomicBool,
    /// Connected clients.
    pub(crate) clients: Mutex<Clients>,
    /// Free places for clients.
    pub(crate) client_places: Arc<Semaphore>,
    /// Clients that have left and are still being removed.
    pub(crate) leaving: watch::Sender<usize>,
    /// Held by the client that is sending something large.
    pub(crate) large_messages: Arc<Semaphore>,
    /// Held while a value is requested for a client.
    pub(crate) values: Semaphore,
    /// Held while a picture is taken for a client. Drawing one blocks all other windows of the browser.
    pub(crate) pictures: Semaphore,
    /// The number of people in its live view at present.
    pub(crate) steered: AtomicUsize,
    /// How its dialogs are answered.
    pub(crate) answers: Answers,
    /// Whether its pages are frozen, or about to be.
    pub(crate) still: AtomicBool,
    /// Whether it is a bare window: it has the cookies of a session and nothing else of it.
    bare: AtomicBool,
    /// The site whose next bare window it may become. Taken when it is closed, or if that must not be.
    pub(crate) reusable_for: Mutex<Option<String>>,
    /// Its documents count as there before everything that they refer to has come.
    ready_at_dom: AtomicBool,
    /// What is remembered between captures.
    pub(crate) record: Record,
}

impl WindowState {
    pub(crate) fn new(id: WindowId, viewport: Option<(u32, u32)>, credentials: Option<Credentials>) -> Self {
        Self {
            id,
            viewport,
            credentials,
            tabs: watch::Sender::new(Vec::new()),
            summary: watch::Sender::new(WindowSummary::default()),
            front: Mutex::new(None),
            closing: AtomicBool::new(false),
            clients: Mutex::default(),
            client_places: Arc::new(Semaphore::new(CLIENTS_MAX)),
            leaving: watch::Sender::new(0),
            large_messages: Arc::new(Semaphore::new(1)),
            values: Semaphore::new(VALUES_AT_ONCE),
            pictures: Semaphore::new(1),
            steered: AtomicUsize::new(0),
            answers: Answers::default(),
            still: AtomicBool::new(false),
            bare: AtomicBool::new(false),
            reusable_for: Mutex::default(),
            ready_at_dom: AtomicBool::new(false),
            record: Record::default(),
        }
    }

    pub(crate) fn main_tab(&self) -> Result<Arc<Tab>, WindowError> {
        self.tabs.borrow().first().cloned().ok_or(WindowError::Closed)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn is_still(&self) -> bool {
        self.still.load(Ordering::Acquire)
    }

    pub(crate) fn set_still(&self, still: bool) {
        self.still.store(still, Ordering::Release);
    }

    pub(crate) fn is_ready_at_dom(&self) -> bool {
        self.ready_at_dom.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready_at_dom(&self, is_ready: bool) {
        self.ready_at_dom.store(is_ready, Ordering::Release);
    }

    pub(crate) fn is_bare(&self) -> bool {
        self.bare.load(Ordering::Acquire)
    }

    pub(crate) fn set_bare(&self) {
        self.bare.store(true, Ordering::Release);
    }

    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Updates the summary; wakes watchers only if it changed.
    pub(crate) fn refresh_summary(&self) {
        let tabs = self.tabs.borrow();
        let mut fresh = WindowSummary { tabs: tabs.len(), ..WindowSummary::default() };
        if let Some(first) = tabs.first() {
            let status = first.status.borrow();
            fresh.url.clone_from(&status.url);
            fresh.title.clone_from(&status.title);
        }
        drop(tabs);
        self.summary.send_if_modified(|summary| {
            let changed = *summary != fresh;
            *summary = fresh;
            changed
        });
    }
}

/// The status of a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct TabStatus {
    pub(crate) url: String,
    pub(crate) title: String,
    /// Its set-up is complete: it may run.
    pub(crate) ready: bool,
    pub(crate) crashed: bool,
    pub(crate) gone: bool,
    /// Its open dialog; meanwhile it does not reply.
    pub(crate) dialog: Option<OpenDialog>,
    /// Increases with every navigation to another document.
    pub(crate) navigations: u64,
    pub(crate) loading: bool,
    /// Whether a document of the web, or Chromium's error page, was loaded: not only the empty one.
    pub(crate) has_content: bool,
    /// Since when another document is requested that has not arrived yet. Meanwhile Chromium delays commands for the
    /// page (`content/browser/devtools/render_frame_devtools_agent_host.cc`).
    pub(crate) navigating_since: Option<Instant>,
    /// When the page last requested a navigation that has neither started nor ended.
    pub(crate) requested_at: Option<Instant>,
    /// The loaders of the last few documents, newest last.
    pub(crate) loaders: VecDeque<String>,
    /// The loader of the last document whose `load` event has fired.
    pub(crate) loaded_loader: String,
    /// The loader of the last document that was parsed to its end (`DOMContentLoaded`).
    pub(crate) parsed_loader: String,
    /// What could not be loaded, while Chromium's error page is shown.
    pub(crate) unreachable: bool,
    /// How often the proxy rejected our password.
    pub(crate) proxy_refusals: u64,
}

impl TabStatus {
    /// Returns whether a document is being loaded.
    pub(crate) fn is_loading(&self) -> bool {
        self.loading || self.requested_at.is_some_and(|at| at.elapsed() < REQUESTED_NAVIGATION_GRACE)
    }

    /// Whether the page has come to rest; `at_dom`: or its document is parsed and no other one is asked for.
    pub(crate) fn has_settled(&self, at_dom: bool) -> bool {
        let is_requested = self.requested_at.is_some_and(|at| at.elapsed() < REQUESTED_NAVIGATION_GRACE);
        let is_parsed = at_dom && self.navigating_since.is_none() && !is_requested && self.has_parsed();
        is_parsed || !self.is_loading()
    }

    /// Another document is there.
    pub(crate) fn committed(&mut self, loader: String) {
        if self.loaders.len() >= REMEMBERED_LOADERS {
            self.loaders.pop_front();
        }
        self.loaders.push_back(loader);
    }

    /// Returns the loader of the present document; empty for the first one of a page.
    pub(crate) fn loader(&self) -> &str {
        self.loaders.back().map_or("", String::as_str)
    }

    /// Returns whether the `load` event of the present document has fired.
    pub(crate) fn has_loaded(&self) -> bool {
        !self.loaded_loader.is_empty() && self.loader() == self.loaded_loader
    }

    /// Whether the document that is there was parsed to its end.
    pub(crate) fn has_parsed(&self) -> bool {
        self.has_loaded() || (!self.parsed_loader.is_empty() && self.loader() == self.parsed_loader)
    }

    /// When it is worth looking again although nothing happened.
    pub(crate) fn look_again_at(&self) -> Option<Instant> {
        self.requested_at.map(|at| at + REQUESTED_NAVIGATION_GRACE)
    }
}

/// An out-of-process frame, seen from its page.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFrame {
    pub(crate) session: SessionId,
    pub(crate) frame: String,
    /// The session of the parent document.
    pub(crate) parent: SessionId,
    pub(crate) url: String,
    /// Cancelled when it is removed: Chromium then leaves calls to it unanswered.
    pub(crate) gone: CancellationToken,
}

/// The renderer of a page.
#[derive(Debug, Clone)]
pub(crate) struct Renderer {
    /// The loader of the document for which it was found.
    pub(crate) loader: String,
    pub(crate) process: Seen,
}

/// One page: a tab or a popup.
#[derive(Debug)]
pub(crate) struct Tab {
    /// Also the id of its top frame.
    pub(crate) target: String,
    pub(crate) session: SessionId,
    pub(crate) status: watch::Sender<TabStatus>,
    pub(crate) remote_frames: Mutex<Vec<RemoteFrame>>,
    /// Requests whose proxy authentication was answered already.
    pub(crate) answered: Mutex<Option<String>>,
    /// The last renderer found.
    pub(crate) renderer: Mutex<Option<Renderer>>,
    /// Chromium's id of its window, once it was queried.
    pub(crate) window_id: OnceLock<i64>,
    /// Modifier keys that are pressed.
    pub(crate) modifiers: Mutex<u8>,
    /// Whether a flow has slowed down its network.
    pub(crate) throttled: AtomicBool,
    /// A script for frames that are created while the page is being restored.
    pub(crate) planted: Mutex<Option<String>>,
    /// The last document of the web that a checkpoint had here: it counts while an error page is shown.
    pub(crate) kept: Mutex<Option<KeptTab>>,
    /// For a hidden page beside those of the window: the dialogs that a flow in it expects.
    pub(crate) expected: Option<ExpectedDialogs>,
}

impl Tab {
    pub(crate) fn new(target: String, session: SessionId) -> Self {
        Self {
            target,
            session,
            status: watch::Sender::new(TabStatus::default()),
            remote_frames: Mutex::new(Vec::new()),
            answered: Mutex::new(None),
            renderer: Mutex::new(None),
            window_id: OnceLock::new(),
            modifiers: Mutex::new(0),
            throttled: AtomicBool::new(false),
            planted: Mutex::new(None),
            kept: Mutex::new(None),
            expected: None,
        }
    }

    /// Returns a hidden page beside those of its window. No person sees its dialogs, and its flows do not know the
    /// dialogs of others.
    pub(crate) fn beside(target: String, session: SessionId) -> Self {
        Self { expected: Some(ExpectedDialogs::default()), ..Self::new(target, session) }
    }

    pub(crate) fn frames(&self) -> Vec<RemoteFrame> {
        lock(&self.remote_frames).clone()
    }

    /// Waits until the status satisfies a predicate.
    ///
    /// # Errors
    /// If the page is closed or crashes meanwhile, or the time is over.
    pub(crate) async fn wait_for(
        &self,
        timeout: Duration,
        wanted: impl FnMut(&TabStatus) -> bool,
    ) -> Result<(), WindowError> {
        let mut status = self.status.subscribe();
        let mut wanted = wanted;
        let reached = status.wait_for(|status| status.gone || status.crashed || wanted(status));
        let Ok(reached) = tokio::time::timeout(timeout, reached).await else {
            return Err(WindowError::Timeout(timeout));
        };
        match reached.as_deref() {
            Ok(status) if status.gone => Err(WindowError::Closed),
            Ok(status) if status.crashed => Err(WindowError::Crashed),
            Ok(_) => Ok(()),
            Err(_) => Err(WindowError::Closed),
        }
    }

    /// Returns when the page is closed or has crashed. Chromium leaves calls to a crashed page unanswered.
    async fn lost(&self) -> WindowError {
        let mut status = self.status.subscribe();
        match status.wait_for(|status| status.gone || status.crashed).await.as_deref() {
            Ok(status) if !status.gone => WindowError::Crashed,
            _ => WindowError::Closed,
        }
    }

    /// Returns when the frame of this session is removed; never if it is not that of a frame.
    async fn frame_gone(&self, session: &SessionId) {
        let frames = self.frames();
        match frames.iter().find(|frame| frame.session == *session) {
            Some(frame) => frame.gone.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Sends a command to one of the page's sessions; fails as soon as the page, or that frame, is lost.
    ///
    /// # Errors
    /// If it is refused, times out, or the page is lost.
    pub(crate) async fn call<C: Command>(
        &self,
        connection: &Connection,
        session: &SessionId,
        command: C,
        timeout: Duration,
    ) -> Result<C::Reply, WindowError> {
        tokio::select! {
            reply = connection.call_within(Some(session), command, timeout) => Ok(reply?),
            lost = self.lost() => Err(lost),
            () = self.frame_gone(session) => Err(WindowError::Closed),
        }
    }
}

/// One browser's windows.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) connection: Connection,
    /// The browser's own folder, if known.
    pub(crate) folder: Option<PathBuf>,
    /// How its windows are drawn.
    pub(crate) engine: Engine,
    /// The spare window.
    pub(crate) spare: Spare,
    /// Bare windows that were emptied, oldest first.
    pub(crate) emptied: Mutex<Vec<Emptied>>,
    /// Whether its pages stay hidden when they are brought to the front: found out with the first one.
    pub(crate) keeps_hidden: AtomicBool,
    tables: Mutex<Tables>,
    client_contexts: Mutex<ClientContexts>,
    /// The channel of events; weak, so that it closes once the driver has ended.
    events: OnceLock<mpsc::WeakSender<BrowserEvent>>,
}

#[derive(Debug, Default)]
struct Tables {
    windows: HashMap<WindowId, Arc<WindowState>>,
    /// Every session of every page, with its window.
    sessions: HashMap<SessionId, (Arc<WindowState>, Arc<Tab>)>,
}

impl Shard {
    pub(crate) fn new(connection: Connection, folder: Option<PathBuf>, engine: Engine) -> Self {
        Self {
            connection,
            folder,
            engine,
            spare: Spare::default(),
            emptied: Mutex::default(),
            keeps_hidden: AtomicBool::new(false),
            tables: Mutex::default(),
            client_contexts: Mutex::default(),
            events: OnceLock::new(),
        }
    }

    /// Sets the channel for [`Self::tell`]; called once, by the driver.
    pub(crate) fn tell_to(&self, events: &mpsc::Sender<BrowserEvent>) {
        let _ = self.events.set(events.downgrade());
    }

    /// Sends an event to the owner of the browser, if there is one and it keeps up.
    pub(crate) fn tell(&self, event: BrowserEvent) -> bool {
        let events = self.events.get().and_then(mpsc::WeakSender::upgrade);
        events.is_some_and(|events| events.try_send(event).is_ok())
    }

    /// Sends an event that must not be lost, however long its owner takes to read.
    pub(crate) async fn tell_surely(&self, event: BrowserEvent) {
        if let Some(events) = self.events.get().and_then(mpsc::WeakSender::upgrade) {
            // The receiver has been dropped.
            let _ = events.send(event).await;
        }
    }

    /// Contexts that are not windows but created by clients.
    pub(crate) fn client_contexts(&self) -> MutexGuard<'_, ClientContexts> {
        lock(&self.client_contexts)
    }

    pub(crate) fn add_window(&self, window: Arc<WindowState>) {
        lock(&self.tables).windows.insert(window.id.clone(), window);
    }

    pub(crate) fn window(&self, id: &WindowId) -> Option<Arc<WindowState>> {
        lock(&self.tables).windows.get(id).cloned()
    }

    /// Removes a window, and marks its tabs as closed.
    pub(crate) fn remove_window(&self, id: &WindowId) {
        let removed = lock(&self.tables).windows.remove(id);
        for tab in removed.map(|window| window.tabs.send_replace(Vec::new())).unwrap_or_default() {
            self.forget_sessions(&tab);
        }
    }

    pub(crate) fn add_session(&self, session: SessionId, window: Arc<WindowState>, tab: Arc<Tab>) {
        self.connection.set_group(&session, Some(window.id.as_str()));
        lock(&self.tables).sessions.insert(session, (window, tab));
    }

    pub(crate) fn by_session(&self, session: &SessionId) -> Option<(Arc<WindowState>, Arc<Tab>)> {
        lock(&self.tables).sessions.get(session).cloned()
    }

    pub(crate) fn remove_session(&self, session: &SessionId) {
        self.connection.set_group(session, None);
        lock(&self.tables).sessions.remove(session);
    }

    pub(crate) fn by_target(&self, target: &str) -> Option<(Arc<WindowState>, Arc<Tab>)> {
        let tables = lock(&self.tables);
        let mut sessions = tables.sessions.values();
        sessions.find(|(_, tab)| tab.target == target).cloned()
    }

    /// Removes a page.
    pub(crate) fn forget_sessions(&self, tab: &Arc<Tab>) {
        lock(&self.tables).sessions.retain(|session, (_, known)| {
            let stays = !Arc::ptr_eq(known, tab);
            if !stays {
                self.connection.set_group(session, None);
            }
            stays
        });
        tab.status.send_modify(|status| status.gone = true);
    }

    /// Removes everything: the browser has ended.
    pub(crate) fn clear(&self) {
        let windows: Vec<WindowId> = lock(&self.tables).windows.keys().cloned().collect();
        for window in windows {
            self.remove_window(&window);
        }
    }

    /// Returns all windows.
    pub(crate) fn windows(&self) -> Vec<Arc<WindowState>> {
        lock(&self.tables).windows.values().cloned().collect()
    }
}

/// Locks; a panic elsewhere while it was locked does not invalidate the data here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
