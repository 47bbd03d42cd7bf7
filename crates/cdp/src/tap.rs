//! A tap: access to the connection for a client that uses the protocol itself, through the gateway.
//!
//! It gets the messages of its own sessions unchanged, and no others. Nothing waits for it: a client that does not
//! read its messages is disconnected.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::envelope::SessionId;
use crate::error::CdpError;
use crate::framing::{self, MAX_MESSAGE_BYTES};
use crate::load::{Group, Source};
use crate::long_work::work_on;
use crate::outbound::{Outbound, TapId};
use crate::routing::Router;
use crate::taps::{Outlet, Waiting};

pub(crate) fn open(
    router: &Arc<Router>,
    outbound: &Arc<Outbound>,
    group: &str,
    limit_bytes: usize,
) -> (TapSender, TapReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let group = Group::from(group);
    let waiting = Waiting::new(router.waiting_of(&group));
    let id = router.add_tap(Outlet::new(sender, waiting.clone(), limit_bytes, Arc::clone(&group)));
    outbound.add(&group, id);
    let sender = TapSender { id, group, router: Arc::clone(router), outbound: Arc::clone(outbound) };
    (sender, TapReceiver { receiver, waiting })
}

/// Sends to the browser. When it is dropped, its sessions belong to no client any more.
#[derive(Debug)]
pub struct TapSender {
    id: TapId,
    group: Group,
    router: Arc<Router>,
    outbound: Arc<Outbound>,
}

impl TapSender {
    /// Routes the messages of a session, and of the sessions below it, to this tap.
    pub fn adopt(&self, session: SessionId) {
        self.router.adopt(self.id, session);
    }

    /// Returns a new id for a call, whose reply is sent here. `None` if [`crate::MAX_TAP_CALLS`] of its calls are
    /// pending, or the connection is closed.
    pub fn next_id(&self) -> Option<i64> {
        self.router.register_for(self.id)
    }

    /// Returns until when messages wait because its group has transferred too much (see [`crate::BURST_BYTES`]).
    pub fn rests_until(&self) -> Option<Instant> {
        self.outbound.loads.rests_until(&Source::Group(Group::clone(&self.group)), Instant::now())
    }

    /// Sends a message unchanged, once there is room for it behind the waiting ones of its group. It must have an id
    /// of [`Self::next_id`], and name one of its own sessions.
    ///
    /// # Errors
    /// If the connection is closed or the message cannot be sent.
    pub async fn send(&self, message: Bytes) -> Result<(), CdpError> {
        work_on(message.len(), || framing::check(&message, MAX_MESSAGE_BYTES))
            .map_err(|source| CdpError::Framing { method: "a client's command".into(), source })?;
        let bytes = message.len();
        self.outbound.push(&self.group, self.id, message).await.map_err(|_| CdpError::Closed)?;
        self.router.moved(Source::Group(Group::clone(&self.group)), bytes, false);
        Ok(())
    }
}

impl Drop for TapSender {
    fn drop(&mut self) {
        self.outbound.remove(&self.group, self.id);
        self.router.remove_tap(self.id);
    }
}

/// Receives from the browser.
#[derive(Debug)]
pub struct TapReceiver {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    waiting: Waiting,
}

impl TapReceiver {
    /// Returns the next message, or `None` once the connection is closed or the tap was disconnected.
    pub async fn next(&mut self) -> Option<Bytes> {
        let message = self.receiver.recv().await;
        self.waiting.remove(message.as_ref().map_or(0, Bytes::len));
        message
    }

    /// Returns the next message if it has arrived already.
    pub fn try_next(&mut self) -> Option<Bytes> {
        let message = self.receiver.try_recv().ok();
        self.waiting.remove(message.as_ref().map_or(0, Bytes::len));
        message
    }
}

impl Drop for TapReceiver {
    /// What it leaves unread no longer counts for its group.
    fn drop(&mut self) {
        self.receiver.close();
        while self.try_next().is_some() {}
    }
}
