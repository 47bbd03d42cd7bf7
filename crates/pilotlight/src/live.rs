//! The live view: people view and control windows.
//!
//! Each session with viewers has one hub, with one stream of screenshots for all of its viewers; without viewers
//! there is neither. The [`hub`] shows the page, and [`hands`] executes input. A viewer counts as activity of a
//! client, and Pilotlight does nothing in a window while a person controls it.

mod hands;
mod hub;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use pilotlight_api::{LiveCommand, LiveState, LiveUpdate};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::keeper::KeeperHandle;
use hub::Hub;

/// Maximum number of viewers of a session.
const MAX_VIEWERS: usize = 32;
/// Maximum number of viewers' messages that wait for their hub.
const MAX_COMMANDS: usize = 1024;
/// Maximum number of messages that wait for a viewer, besides screenshots and states.
const MAX_UPDATES: usize = 64;

/// Identifies a viewer within its hub.
type ViewerId = u64;

/// A screenshot for viewers.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The message that precedes it.
    pub told: LiveUpdate,
    /// JPEG.
    pub jpeg: Bytes,
}

/// A message to a hub.
#[derive(Debug)]
enum Call {
    Joined(ViewerId, mpsc::Sender<LiveUpdate>),
    Left(ViewerId),
    Command(ViewerId, LiveCommand),
}

/// The parts of a hub that its viewers share.
#[derive(Debug, Clone)]
struct HubHandle {
    calls: mpsc::Sender<Call>,
    pictures: watch::Receiver<Option<Arc<Picture>>>,
    state: watch::Receiver<LiveState>,
}

/// All hubs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    keeper: KeeperHandle,
    hubs: Arc<Mutex<Hubs>>,
}

#[derive(Debug, Default)]
struct Hubs {
    last_viewer: ViewerId,
    by_session: HashMap<Uuid, HubHandle>,
}

/// A viewer. Dropping it disconnects the viewer.
#[derive(Debug)]
pub struct Viewer {
    id: ViewerId,
    calls: mpsc::Sender<Call>,
    /// Sends a message to this viewer only.
    tell: mpsc::Sender<LiveUpdate>,
    news: Option<News>,
}

/// The receiving ends of a viewer.
#[derive(Debug)]
pub struct News {
    /// The latest screenshot. A slow viewer skips intermediate ones.
    pub pictures: watch::Receiver<Option<Arc<Picture>>>,
    /// The state of the live view.
    pub state: watch::Receiver<LiveState>,
    /// Messages to this viewer only.
    pub told: mpsc::Receiver<LiveUpdate>,
}

impl Viewer {
    /// Returns the receiving ends; only the first call does.
    pub fn news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Sends an error to the viewer.
    pub fn send_error(&self, message: &str) {
        // A viewer that does not read misses it.
        drop(self.tell.try_send(LiveUpdate::Error { message: message.to_owned() }));
    }

    /// Passes a command of the viewer on; returns false if the hub has ended.
    pub async fn command(&self, command: LiveCommand) -> bool {
        self.calls.send(Call::Command(self.id, command)).await.is_ok()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let left = Call::Left(self.id);
        if let Err(mpsc::error::TrySendError::Full(left)) = self.calls.try_send(left) {
            let calls = self.calls.clone();
            tokio::spawn(async move { drop(calls.send(left).await) });
        }
    }
}

impl Live {
    /// Creates an empty list.
    #[must_use]
    pub fn new(keeper: KeeperHandle) -> Self {
        Self { keeper, hubs: Arc::default() }
    }

    fn hubs(&self) -> MutexGuard<'_, Hubs> {
        self.hubs.lock()
    }

    /// Adds a viewer to a session; returns `None` if there are too many viewers or commands.
    #[must_use]
    pub fn join(&self, session: Uuid) -> Option<Viewer> {
        let mut hubs = self.hubs();
        hubs.last_viewer += 1;
        let id = hubs.last_viewer;
        let hub = hubs.by_session.entry(session).or_insert_with(|| self.start(session));
        if hub.state.borrow().viewers >= MAX_VIEWERS {
            return None;
        }
        let (tell, told) = mpsc::channel(MAX_UPDATES);
        // Under the lock, so that a hub that is about to end notices it.
        hub.calls.try_send(Call::Joined(id, tell.clone())).ok()?;
        let HubHandle { calls, pictures, state } = hub.clone();
        Some(Viewer { id, calls, tell, news: Some(News { pictures, state, told }) })
    }

    fn start(&self, session: Uuid) -> HubHandle {
        let (calls, called) = mpsc::channel(MAX_COMMANDS);
        let (pictures, shown) = watch::channel(None);
        let (state, stands) = watch::channel(LiveState::default());
        let hub = Hub::new(self.clone(), session, called, pictures, state);
        tokio::spawn(hub.run());
        HubHandle { calls, pictures: shown, state: stands }
    }

    /// Ends a hub without current or new viewers.
    fn forget(&self, session: Uuid, called: &mpsc::Receiver<Call>) -> bool {
        let mut hubs = self.hubs();
        let unwanted = called.is_empty();
        if unwanted {
            hubs.by_session.remove(&session);
        }
        unwanted
    }
}
