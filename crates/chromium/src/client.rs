//! A connected client of a window, which uses the protocol itself, through the gateway.
//!
//! It has a nested browser session of its own (`Target.attachToBrowserTarget`), so that what it enables is separate
//! and ends with it. New pages wait for the clients before they run, for a bounded time. This module does not know
//! the messages of clients: the gateway restricts them to their window.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub use pilotlight_cdp::LARGE_MESSAGE_BYTES;
use pilotlight_cdp::protocol::browser::SetDownloadBehavior;
use pilotlight_cdp::protocol::target::{AttachToBrowserTarget, DetachFromTarget};
use pilotlight_cdp::{SessionId, TapReceiver, TapSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::dialogs;
use crate::error::WindowError;
use crate::event::WindowId;
pub use crate::limits::{CLIENT_HOLD_MAX, CLIENTS_MAX};
pub use crate::state::NewPage;
use crate::state::{Shard, Tab, WindowState, lock};
use crate::window::Window;

/// How long each step of connecting and disconnecting a client may take.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the removal of disconnected clients may take, which is two steps, before another one can connect.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that may wait for a client, besides the message in transfer.
pub const CLIENT_BACKLOG_BYTES: usize = 32 * 1024 * 1024;
/// New pages that a client may not have handled yet; further ones do not wait for it.
const NEW_PAGES_QUEUE: usize = 64;

/// A client's connection. When it is dropped, everything that the client created is removed.
#[derive(Debug)]
pub struct ClientConnection {
    presence: Presence,
    /// Sends to the browser.
    pub sender: TapSender,
    /// Receives from the browser.
    pub receiver: TapReceiver,
    /// Pages that wait for the client.
    pub new_pages: mpsc::Receiver<NewPage>,
    /// Notified when pages are opened or closed.
    pub pages: PagesWatch,
    /// Held by the client of the window that sends something large: the others wait.
    pub large_messages: Arc<Semaphore>,
}

/// What has to be undone when the client disconnects.
#[derive(Debug)]
struct Presence {
    shard: Arc<Shard>,
    window: Arc<WindowState>,
    session: SessionId,
    number: u64,
    announcements: mpsc::Sender<NewPage>,
    contexts: HashSet<String>,
    _place: OwnedSemaphorePermit,
}

/// The pages that the window shows.
#[derive(Debug)]
pub struct PagesWatch(tokio::sync::watch::Receiver<Vec<Arc<Tab>>>);

impl PagesWatch {
    /// Returns their ids, oldest first. The present ones count as seen.
    pub fn ids(&mut self) -> Vec<String> {
        self.0.borrow_and_update().iter().map(|tab| tab.target.clone()).collect()
    }

    /// Waits for a change; returns false once the window is closed.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Window {
    /// Connects a client, once earlier ones have been removed, and there is a page.
    ///
    /// # Errors
    /// [`WindowError::Full`] if it has [`CLIENTS_MAX`] clients; if the browser refuses or has ended.
    pub async fn connect_client(&self) -> Result<ClientConnection, WindowError> {
        let place =
            Arc::clone(&self.state.client_places).try_acquire_owned().map_err(|_| WindowError::Full)?;
        // What is undone for an earlier client would affect this one as well.
        let mut leaving = self.state.leaving.subscribe();
        let seen_off = timeout(LEAVING_TIMEOUT, leaving.wait_for(|leaving| *leaving == 0)).await;
        seen_off.map_err(|_| WindowError::Timeout(LEAVING_TIMEOUT))?.map_err(|_| WindowError::Closed)?;
        // If the last page was just closed, another one is being opened.
        let mut tabs = self.state.tabs.subscribe();
        let shown = timeout(CLIENT_TIMEOUT, tabs.wait_for(|tabs| !tabs.is_empty())).await;
        shown.map_err(|_| WindowError::Timeout(CLIENT_TIMEOUT))?.map_err(|_| WindowError::Closed)?;
        let (sender, receiver) = self.shard.connection.tap(self.id().as_str(), CLIENT_BACKLOG_BYTES);
        let attach = AttachToBrowserTarget {};
        let session = self.shard.connection.call_within(None, attach, CLIENT_TIMEOUT).await?.session_id;
        sender.adopt(session.clone());
        let (announcements, new_pages) = mpsc::channel(NEW_PAGES_QUEUE);
        let number = lock(&self.state.clients).add(announcements.clone());
        let presence = Presence {
            shard: Arc::clone(&self.shard),
            window: Arc::clone(&self.state),
            session,
            number,
            announcements,
            contexts: HashSet::new(),
            _place: place,
        };
        let pages = PagesWatch(self.state.tabs.subscribe());
        let large_messages = Arc::clone(&self.state.large_messages);
        Ok(ClientConnection { presence, sender, receiver, new_pages, pages, large_messages })
    }
}

impl ClientConnection {
    /// Returns its own browser session.
    pub fn session(&self) -> &SessionId {
        &self.presence.session
    }

    /// Returns the window's context.
    pub fn window(&self) -> &WindowId {
        &self.presence.window.id
    }

    /// Notes that it gets events of dialogs (`Page.enable`): from now on they are left to it.
    pub fn answers_dialogs(&mut self) {
        lock(&self.presence.window.clients).leave_dialogs_to(self.presence.number);
    }

    /// Adds a context that it created: its pages wait for the client, too.
    pub fn own_context(&mut self, context: &str) {
        let announcements = self.presence.announcements.clone();
        self.presence.shard.client_contexts().insert(context.into(), announcements);
        self.presence.contexts.insert(context.into());
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let (is_last, leaves_dialogs) = {
            let mut clients = lock(&self.window.clients);
            let is_last = clients.remove(self.number);
            (is_last, !clients.answer_dialogs())
        };
        self.shard.client_contexts().retain(|context, _| !self.contexts.contains(context));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shard, session) = (Arc::clone(&self.shard), self.session.clone());
        let leaving = Leaving::new(Arc::clone(&self.window));
        runtime.spawn(async move { see_off(&shard, &leaving.0, session, is_last, leaves_dialogs).await });
    }
}

/// While this exists, no other client can connect.
struct Leaving(Arc<WindowState>);

impl Leaving {
    fn new(window: Arc<WindowState>) -> Self {
        window.leaving.send_modify(|leaving| *leaving += 1);
        Self(window)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leaving.send_modify(|leaving| *leaving = leaving.saturating_sub(1));
    }
}

/// Ends a client's session, and with it its sub-sessions, contexts and interceptions. The window's setting for
/// downloads returns to Chromium's default, and to ours once no client is connected.
async fn see_off(
    shard: &Shard,
    window: &WindowState,
    session: SessionId,
    is_last: bool,
    leaves_dialogs: bool,
) {
    let connection = &shard.connection;
    let detach = DetachFromTarget { session_id: session };
    if let Err(error) = connection.call_within(None, detach, CLIENT_TIMEOUT).await {
        tracing::debug!(%error, "a client's session could not be ended; its browser may be gone");
    }
    if window.is_closing() || connection.is_closed() {
        return;
    }
    if leaves_dialogs {
        dialogs::clients_left(shard, window);
    }
    if !is_last {
        return;
    }
    let deny = SetDownloadBehavior {
        behavior: "deny",
        browser_context_id: window.id.as_str().into(),
        download_path: None,
    };
    if let Err(error) = connection.call_within(None, deny, CLIENT_TIMEOUT).await {
        tracing::debug!(%error, "downloads could not be denied again");
    }
}
