//! A place at the connection for somebody who speaks the protocol for himself: a gateway's client.
//!
//! He gets the messages of his own sessions as they came, and of nobody else's. Sessions that come to be below
//! his are his from their first event on, which is why that is seen to here, where the stream is read. Nobody
//! waits for him: whoever does not take what is his is cut off.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::envelope::{Envelope, SessionId};
use crate::error::CdpError;
use crate::framing::{FramingError, MAX_MESSAGE_BYTES};
use crate::routing::Router;

/// Names a tap of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TapId(u64);

impl TapId {
    /// Of no tap.
    pub(crate) const NONE: Self = Self(0);
}

/// The router's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    sender: mpsc::UnboundedSender<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
    limit_bytes: usize,
}

/// All taps of a connection, and whose each session is.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    last: u64,
    outlets: HashMap<TapId, Outlet>,
    sessions: HashMap<SessionId, TapId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    session_id: SessionId,
}

impl Taps {
    pub(crate) fn add(&mut self, outlet: Outlet) -> TapId {
        self.last += 1;
        self.outlets.insert(TapId(self.last), outlet);
        TapId(self.last)
    }

    pub(crate) fn adopt(&mut self, tap: TapId, session: SessionId) {
        if self.outlets.contains_key(&tap) {
            self.sessions.insert(session, tap);
        }
    }

    pub(crate) fn remove(&mut self, tap: TapId) {
        self.outlets.remove(&tap);
        self.sessions.retain(|_, of| *of != tap);
    }

    /// Passes a message on. The bytes that wait are bounded by the limit and one message.
    pub(crate) fn deliver(&mut self, tap: TapId, message: &Bytes) {
        let Some(outlet) = self.outlets.get(&tap) else { return };
        let waiting = outlet.waiting_bytes.fetch_add(message.len(), Ordering::AcqRel);
        if waiting > outlet.limit_bytes || outlet.sender.send(message.clone()).is_err() {
            tracing::debug!(waiting, "a client does not take what is its and is cut off");
            self.remove(tap);
        }
    }

    /// Passes an event on where it is of a tap's session, and says whether it was.
    pub(crate) fn event(&mut self, envelope: &Envelope<'_>, message: &Bytes) -> bool {
        let (Some(method), Some(session)) = (&envelope.method, &envelope.session) else { return false };
        if self.sessions.is_empty() {
            return false;
        }
        let Some(tap) = self.sessions.get(&SessionId::from(&*session.0)).copied() else { return false };
        let named = || {
            let params = envelope.params.map_or("null", |params| params.get());
            serde_json::from_str::<Named>(params).ok().map(|named| named.session_id)
        };
        let (come, gone) = match &*method.0 {
            "Target.attachedToTarget" => (named(), None),
            "Target.detachedFromTarget" => (None, named()),
            _ => (None, None),
        };
        if let Some(session) = come {
            self.adopt(tap, session);
        }
        self.deliver(tap, message);
        if let Some(session) = gone {
            self.sessions.remove(&session);
        }
        true
    }
}

pub(crate) fn open(
    router: &Arc<Router>,
    outbound: mpsc::Sender<Bytes>,
    limit_bytes: usize,
) -> (TapSender, TapReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let id = router.add_tap(Outlet { sender, waiting_bytes: Arc::clone(&waiting_bytes), limit_bytes });
    (TapSender { id, router: Arc::clone(router), outbound }, TapReceiver { receiver, waiting_bytes })
}

/// Speaks to the browser. Dropped, its sessions are nobody's any more.
#[derive(Debug)]
pub struct TapSender {
    id: TapId,
    router: Arc<Router>,
    outbound: mpsc::Sender<Bytes>,
}

impl TapSender {
    /// From now on the session's messages come here, and those of the sessions below it.
    pub fn adopt(&self, session: SessionId) {
        self.router.adopt(self.id, session);
    }

    /// A fresh id for a call, whose reply comes here. None where too many calls wait, or the connection is
    /// closed.
    pub fn next_id(&self) -> Option<i64> {
        self.router.register_for(self.id)
    }

    /// Sends a message as it is. It must have an id of [`Self::next_id`], and name one of its own sessions.
    ///
    /// # Errors
    /// Where the connection is closed or the message too long.
    pub async fn send(&self, message: Bytes) -> Result<(), CdpError> {
        if message.len() > MAX_MESSAGE_BYTES {
            let source = FramingError::TooLong { limit_bytes: MAX_MESSAGE_BYTES };
            return Err(CdpError::Framing { method: "a client's command".into(), source });
        }
        self.outbound.send(message).await.map_err(|_| CdpError::Closed)
    }
}

impl Drop for TapSender {
    fn drop(&mut self) {
        self.router.remove_tap(self.id);
    }
}

/// Hears the browser.
#[derive(Debug)]
pub struct TapReceiver {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl TapReceiver {
    /// The next message, or `None` once the connection is closed or the tap was cut off.
    pub async fn next(&mut self) -> Option<Bytes> {
        let message = self.receiver.recv().await;
        self.waiting_bytes.fetch_sub(message.as_ref().map_or(0, Bytes::len), Ordering::AcqRel);
        message
    }

    /// The next message that is there already.
    pub fn try_next(&mut self) -> Option<Bytes> {
        let message = self.receiver.try_recv().ok();
        self.waiting_bytes.fetch_sub(message.as_ref().map_or(0, Bytes::len), Ordering::AcqRel);
        message
    }
}
