//! A guest of a window: a client that speaks the protocol for itself, through a gateway.
//!
//! It has a nested browser session of its own (`Target.attachToBrowserTarget`), so that what it switches on is
//! its own and goes with it. New pages wait for their guests before they run, for a bounded time. Nothing here
//! knows what guests say: that they keep to their window is the gateway's part.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_cdp::protocol::browser::SetDownloadBehavior;
use pilotlight_cdp::protocol::page::HandleJavaScriptDialog;
use pilotlight_cdp::protocol::target::{AttachToBrowserTarget, DetachFromTarget};
use pilotlight_cdp::{SessionId, TapReceiver, TapSender};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::driver::set_up;
use crate::error::WindowError;
use crate::state::{Shard, Tab, WindowId, WindowState, lock};
use crate::window::Window;

/// How long a new page waits for its guests.
pub const GUEST_HOLD_MAX: Duration = Duration::from_secs(5);
/// How long the coming and going of a guest may take.
const GUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes may wait for a guest, beside the message that is passed on.
pub const GUEST_BACKLOG_BYTES: usize = 32 * 1024 * 1024;
/// How many new pages a guest may leave unseen; further ones do not wait for it.
const NEW_PAGES_QUEUE: usize = 64;

/// A page that was just made and does not run before this is dropped, or its time is over.
#[derive(Debug)]
pub struct NewPage {
    /// Chromium's id of the page.
    pub target_id: String,
    _hold: DropGuard,
}

/// Where new pages are announced, by number of the guest.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    last: u64,
    present: HashMap<u64, mpsc::Sender<NewPage>>,
}

impl Guests {
    fn add(&mut self, sender: mpsc::Sender<NewPage>) -> u64 {
        self.last += 1;
        self.present.insert(self.last, sender);
        self.last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Announces a page to everybody. Awaiting what comes back waits for those who hold it.
    pub(crate) fn announce(&self, target: &str) -> impl Future<Output = ()> + Send + use<> {
        let holds: Vec<_> = self.present.values().filter_map(|guest| announce_to(guest, target)).collect();
        async move {
            let all = join_all(holds.iter().map(CancellationToken::cancelled));
            if tokio::time::timeout(GUEST_HOLD_MAX, all).await.is_err() {
                tracing::debug!("a new page waited long enough for a client");
            }
        }
    }
}

fn announce_to(guest: &mpsc::Sender<NewPage>, target: &str) -> Option<CancellationToken> {
    let held = CancellationToken::new();
    let page = NewPage { target_id: target.into(), _hold: held.clone().drop_guard() };
    guest.try_send(page).ok().map(|()| held)
}

/// Contexts that guests made for themselves, and who hears of their pages.
pub(crate) type GuestContexts = HashMap<String, mpsc::Sender<NewPage>>;

/// Waits for the guest whose context a new page is in; at once where there is none.
pub(crate) fn announce_in_context(
    contexts: &GuestContexts,
    context: Option<&str>,
    target: &str,
) -> impl Future<Output = ()> + Send + use<> {
    let held = context.and_then(|id| contexts.get(id)).and_then(|guest| announce_to(guest, target));
    async move {
        if let Some(held) = held {
            let _ = tokio::time::timeout(GUEST_HOLD_MAX, held.cancelled()).await;
        }
    }
}

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
    /// Lets a guest in.
    ///
    /// # Errors
    /// Where the browser refuses or is gone.
    pub async fn let_in(&self) -> Result<Guest, WindowError> {
        let (sender, receiver) = self.shard.connection.tap(GUEST_BACKLOG_BYTES);
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
        };
        let pages = PagesWatch(self.state.tabs.subscribe());
        Ok(Guest { presence, sender, receiver, new_pages, pages })
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

    /// A context that it made: pages there wait for it too.
    pub fn own_context(&mut self, context: &str) {
        let announcements = self.presence.announcements.clone();
        self.presence.shard.guest_contexts().insert(context.into(), announcements);
        self.presence.contexts.insert(context.into());
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let is_last = {
            let mut guests = lock(&self.window.guests);
            guests.present.remove(&self.number);
            guests.is_empty()
        };
        self.shard.guest_contexts().retain(|context, _| !self.contexts.contains(context));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shard, window, session) =
            (Arc::clone(&self.shard), Arc::clone(&self.window), self.session.clone());
        runtime.spawn(async move { see_off(&shard, &window, session, is_last).await });
    }
}

/// With its session go a guest's sessions, contexts and interceptions. What it had set for the window's
/// downloads falls back to Chromium's own rule, and to ours again once nobody is there.
async fn see_off(shard: &Shard, window: &WindowState, session: SessionId, is_last: bool) {
    let connection = &shard.connection;
    let detach = DetachFromTarget { session_id: session };
    if let Err(error) = connection.call_within(None, detach, GUEST_TIMEOUT).await {
        tracing::debug!(%error, "a client's session could not be ended; its browser may be gone");
    }
    if !is_last || window.is_closing() || connection.is_closed() {
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
    let tabs: Vec<_> = window.tabs.borrow().clone();
    for tab in tabs.iter().filter(|tab| tab.status.borrow().dialog) {
        set_up(connection, &tab.session, HandleJavaScriptDialog { accept: false, prompt_text: None }).await;
    }
}
