//! The live view: people look into windows and steer them.
//!
//! Each session that somebody looks at has one hub, with one stream of pictures for all of its viewers; without
//! viewers there is neither. The [`hub`] shows, the [`hands`] act. A viewer counts as activity of a client, and
//! nothing of ours runs in a window while somebody steers it.

mod hands;
mod hub;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pilotlight_api::{LiveState, LiveTold, LiveWish};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::keeper::KeeperHandle;
use hub::Hub;

/// Viewers of one session.
const MAX_VIEWERS: usize = 32;
/// Messages of viewers that wait for their hub.
const MAX_WISHES: usize = 1024;
/// Messages that wait for one viewer, pictures and states aside.
const MAX_TOLD: usize = 64;

/// Names a viewer within its hub.
type ViewerId = u64;

/// A picture on its way to viewers.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What is said before it.
    pub told: LiveTold,
    /// JPEG.
    pub jpeg: Bytes,
}

/// What a hub is told.
#[derive(Debug)]
enum Call {
    Joined(ViewerId, mpsc::Sender<LiveTold>),
    Left(ViewerId),
    Wish(ViewerId, LiveWish),
}

/// What viewers share of a hub.
#[derive(Debug, Clone)]
struct HubHandle {
    calls: mpsc::Sender<Call>,
    pictures: watch::Receiver<Option<Arc<Picture>>>,
    state: watch::Receiver<LiveState>,
}

/// All hubs. Clones share them.
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

/// One who looks. Dropped, it has left.
#[derive(Debug)]
pub struct Viewer {
    id: ViewerId,
    calls: mpsc::Sender<Call>,
    /// Also tells this viewer something.
    tell: mpsc::Sender<LiveTold>,
    news: Option<News>,
}

/// What comes to a viewer.
#[derive(Debug)]
pub struct News {
    /// The newest picture. A slow viewer misses those in between.
    pub pictures: watch::Receiver<Option<Arc<Picture>>>,
    /// How it stands.
    pub state: watch::Receiver<LiveState>,
    /// What is for this viewer alone.
    pub told: mpsc::Receiver<LiveTold>,
}

impl Viewer {
    /// What comes to the viewer, once.
    pub fn news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Tells the viewer that something was not done.
    pub fn complain(&self, sentence: &str) {
        // Whoever does not read misses it.
        drop(self.tell.try_send(LiveTold::Error { sentence: sentence.to_owned() }));
    }

    /// Says what the viewer wants; false once the hub is gone.
    pub async fn wish(&self, wish: LiveWish) -> bool {
        self.calls.send(Call::Wish(self.id, wish)).await.is_ok()
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
    /// No hubs yet.
    #[must_use]
    pub fn new(keeper: KeeperHandle) -> Self {
        Self { keeper, hubs: Arc::default() }
    }

    fn hubs(&self) -> MutexGuard<'_, Hubs> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a session; `None` where too many do, or wish too much.
    #[must_use]
    pub fn join(&self, session: Uuid) -> Option<Viewer> {
        let mut hubs = self.hubs();
        hubs.last_viewer += 1;
        let id = hubs.last_viewer;
        let hub = hubs.by_session.entry(session).or_insert_with(|| self.start(session));
        if hub.state.borrow().viewers >= MAX_VIEWERS {
            return None;
        }
        let (tell, told) = mpsc::channel(MAX_TOLD);
        // Under the lock, so that a hub that is about to end sees it.
        hub.calls.try_send(Call::Joined(id, tell.clone())).ok()?;
        let HubHandle { calls, pictures, state } = hub.clone();
        Some(Viewer { id, calls, tell, news: Some(News { pictures, state, told }) })
    }

    fn start(&self, session: Uuid) -> HubHandle {
        let (calls, called) = mpsc::channel(MAX_WISHES);
        let (pictures, shown) = watch::channel(None);
        let (state, stands) = watch::channel(LiveState::default());
        let hub = Hub::new(self.clone(), session, called, pictures, state);
        tokio::spawn(hub.run());
        HubHandle { calls, pictures: shown, state: stands }
    }

    /// Ends a hub that nobody looks at and nobody is about to.
    fn forget(&self, session: Uuid, called: &mpsc::Receiver<Call>) -> bool {
        let mut hubs = self.hubs();
        let unwanted = called.is_empty();
        if unwanted {
            hubs.by_session.remove(&session);
        }
        unwanted
    }
}
