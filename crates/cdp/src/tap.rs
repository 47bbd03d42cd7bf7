//! A place at the connection for somebody who speaks the protocol for itself: a gateway's client.
//!
//! It gets the messages of its own sessions as they came, and of nobody else's. Nobody waits for it: whoever does
//! not take what is its own is cut off.

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

/// Speaks to the browser. Dropped, its sessions are nobody's any more.
#[derive(Debug)]
pub struct TapSender {
    id: TapId,
    group: Group,
    router: Arc<Router>,
    outbound: Arc<Outbound>,
}

impl TapSender {
    /// From now on the session's messages come here, and those of the sessions below it.
    pub fn adopt(&self, session: SessionId) {
        self.router.adopt(self.id, session);
    }

    /// A fresh id for a call, whose reply comes here. None where [`crate::MAX_TAP_CALLS`] of its calls wait, or the
    /// connection is closed.
    pub fn next_id(&self) -> Option<i64> {
        self.router.register_for(self.id)
    }

    /// Returns until when messages wait because its group has moved too much (see [`crate::BURST_BYTES`]).
    pub fn rests_until(&self) -> Option<Instant> {
        self.outbound.loads.rests_until(&Source::Group(Group::clone(&self.group)), Instant::now())
    }

    /// Sends a message as it is, once those of its group that wait have left room for it. It must have an id of
    /// [`Self::next_id`], and name one of its own sessions.
    ///
    /// # Errors
    /// Where the connection is closed or the message cannot be sent.
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

/// Hears the browser.
#[derive(Debug)]
pub struct TapReceiver {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    waiting: Waiting,
}

impl TapReceiver {
    /// The next message, or `None` once the connection is closed or the tap was cut off.
    pub async fn next(&mut self) -> Option<Bytes> {
        let message = self.receiver.recv().await;
        self.waiting.remove(message.as_ref().map_or(0, Bytes::len));
        message
    }

    /// The next message that is there already.
    pub fn try_next(&mut self) -> Option<Bytes> {
        let message = self.receiver.try_recv().ok();
        self.waiting.remove(message.as_ref().map_or(0, Bytes::len));
        message
    }
}

impl Drop for TapReceiver {
    /// What it leaves untaken weighs on its group no longer.
    fn drop(&mut self) {
        self.receiver.close();
        while self.try_next().is_some() {}
    }
}
