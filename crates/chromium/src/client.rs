//! A guest of a window: a client that speaks the protocol for itself, through a gateway.
//!
//! It has a nested browser session of its own (`Target.attachToBrowserTarget`), so that what it switches on is
//! its own and goes with it. New pages wait for their guests before they run, for a bounded time. Nothing here
//! knows what guests say: that they keep to their window is the gateway's part.

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
pub use crate::limits::{GUEST_HOLD_MAX, GUESTS_MAX};
pub use crate::state::NewPage;
use crate::state::{Shard, Tab, WindowState, lock};
use crate::window::Window;

/// How long each step of the coming and going of a guest may take.
const GUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long those who have left may take to be seen off, which is two steps, before nobody else comes in.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(20);
/// How many bytes may wait for a guest, beside the message that is passed on.
pub const GUEST_BACKLOG_BYTES: usize = 32 * 1024 * 1024;
/// How many new pages a guest may leave unseen; further ones do not wait for it.
const NEW_PAGES_QUEUE: usize = 64;

/// Its place in the window. Dropped, the guest is gone with everything that it had made.
#[derive(Debug)]
pub struct Guest {
    presence: Presence,
    /// Speaks to the browser.
    pub sender: TapSender,
    /// Hears it.
    pub receiver: TapReceiver,
    /// Pages that wait for it.
    pub new_pages: mpsc::Receiver<NewPage>,
    /// Woken when pages come or go.
    pub pages: PagesWatch,
    /// To be taken by whichever guest of the window has something large to send: the others wait.
    pub large_messages: Arc<Semaphore>,
}

/// What of a guest must be undone.
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
    /// Their ids, oldest first. Those of now count as seen.
    pub fn ids(&mut self) -> Vec<String> {
        self.0.borrow_and_update().iter().map(|tab| tab.target.clone()).collect()
    }

    /// Waits for a change; false once the window is gone.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Window {
    /// Lets a guest in, once those who have left before are seen off, and a page is there.
    ///
    /// # Errors
    /// [`WindowError::Full`] where it has [`GUESTS_MAX`] guests; where the browser refuses or is gone.
    pub async fn let_in(&self) -> Result<Guest, WindowError> {
        let place =
            Arc::clone(&self.state.guest_places).try_acquire_owned().map_err(|_| WindowError::Full)?;
        // What is taken back from a guest that has left would be taken from this one as well.
        let mut leaving = self.state.leaving.subscribe();
        let seen_off = timeout(LEAVING_TIMEOUT, leaving.wait_for(|leaving| *leaving == 0)).await;
        seen_off.map_err(|_| WindowError::Timeout(LEAVING_TIMEOUT))?.map_err(|_| WindowError::Closed)?;
        // Where the last one was just closed, another is on its way.
        let mut tabs = self.state.tabs.subscribe();
        let shown = timeout(GUEST_TIMEOUT, tabs.wait_for(|tabs| !tabs.is_empty())).await;
        shown.map_err(|_| WindowError::Timeout(GUEST_TIMEOUT))?.map_err(|_| WindowError::Closed)?;
        let (sender, receiver) = self.shard.connection.tap(self.id().as_str(), GUEST_BACKLOG_BYTES);
        let attach = AttachToBrowserTarget {};
        let session = self.shard.connection.call_within(None, attach, GUEST_TIMEOUT).await?.session_id;
        sender.adopt(session.clone());
        let (announcements, new_pages) = mpsc::channel(NEW_PAGES_QUEUE);
        let number = lock(&self.state.guests).add(announcements.clone());
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
        Ok(Guest { presence, sender, receiver, new_pages, pages, large_messages })
    }
}

impl Guest {
    /// Its own browser session.
    pub fn session(&self) -> &SessionId {
        &self.presence.session
    }

    /// The window's context.
    pub fn window(&self) -> &WindowId {
        &self.presence.window.id
    }

    /// Says that it is told of dialogs (`Page.enable`): from now on they are left to it.
    pub fn answers_dialogs(&mut self) {
        lock(&self.presence.window.guests).leave_dialogs_to(self.presence.number);
    }

    /// A context that it made: pages there wait for it too.
    pub fn own_context(&mut self, context: &str) {
        let announcements = self.presence.announcements.clone();
        self.presence.shard.guest_contexts().insert(context.into(), announcements);
        self.presence.contexts.insert(context.into());
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let (is_last, leaves_dialogs) = {
            let mut guests = lock(&self.window.guests);
            let is_last = guests.remove(self.number);
            (is_last, !guests.answer_dialogs())
        };
        self.shard.guest_contexts().retain(|context, _| !self.contexts.contains(context));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shard, session) = (Arc::clone(&self.shard), self.session.clone());
        let leaving = Leaving::new(Arc::clone(&self.window));
        runtime.spawn(async move { see_off(&shard, &leaving.0, session, is_last, leaves_dialogs).await });
    }
}

/// While this is there, no other guest comes in.
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

/// With its session go a guest's sessions, contexts and interceptions. What it had set for the window's
/// downloads falls back to Chromium's own rule, and to ours again once nobody is there.
async fn see_off(
    shard: &Shard,
    window: &WindowState,
    session: SessionId,
    is_last: bool,
    leaves_dialogs: bool,
) {
    let connection = &shard.connection;
    let detach = DetachFromTarget { session_id: session };
    if let Err(error) = connection.call_within(None, detach, GUEST_TIMEOUT).await {
        tracing::debug!(%error, "a client's session could not be ended; its browser may be gone");
    }
    if window.is_closing() || connection.is_closed() {
        return;
    }
    if leaves_dialogs {
        dialogs::guests_left(shard, window);
    }
    if !is_last {
        return;
    }
    let deny = SetDownloadBehavior {
        behavior: "deny",
        browser_context_id: window.id.as_str().into(),
        download_path: None,
    };
    if let Err(error) = connection.call_within(None, deny, GUEST_TIMEOUT).await {
        tracing::debug!(%error, "downloads could not be denied again");
    }
}
