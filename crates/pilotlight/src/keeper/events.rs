//! What happened, for whoever listens. Nobody is waited for: a slow listener misses events and is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use pilotlight_api::Event;
use pilotlight_core::Notice;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::details::{event_kind, state};

/// Events kept for listeners that are behind.
const MAX_BEHIND: usize = 1024;

/// The stream of events.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    last: Arc<AtomicU64>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { sender: broadcast::Sender::new(MAX_BEHIND), last: Arc::default() }
    }

    /// Every event from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    /// The number of the newest event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    pub(super) fn announce(&self, notice: &Notice, name: Option<String>, time: Timestamp) {
        let (kind, reason) = event_kind(notice.kind);
        let session_id = Uuid::from_u128(notice.session.0);
        let state = state(notice.state);
        tracing::info!(%session_id, kind = kind.as_str(), %state, "{}", notice.reason);
        let event = Event {
            id: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            time,
            session_id: Some(session_id),
            name,
            kind,
            state: Some(state),
            reason: reason.to_owned(),
            sentence: notice.reason.clone(),
        };
        // Without a listener there is nobody to tell.
        drop(self.sender.send(Arc::new(event)));
    }
}
