//! The taps of a connection: the client of each session, and the messages that wait for each client.
//!
//! Sessions that are attached below a client's belong to the client from their first event on, which is why they are
//! added here, where the stream is read. A client that does not read its messages is disconnected.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::envelope::{Envelope, SessionId};
use crate::load::Group;
use crate::outbound::TapId;

/// Calls of one tap that may wait for their replies.
pub const MAX_TAP_CALLS: usize = 2048;
/// Bytes that may wait for all taps of a group together, besides the messages that are passed on.
pub const GROUP_BACKLOG_BYTES: usize = 64 * 1024 * 1024;

/// The router's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    sender: mpsc::UnboundedSender<Bytes>,
    waiting: Waiting,
    limit_bytes: usize,
    group: Group,
    /// The number of its pending calls.
    calls: usize,
}

impl Outlet {
    /// Returns an outlet that nothing was passed to yet.
    pub(crate) fn new(
        sender: mpsc::UnboundedSender<Bytes>,
        waiting: Waiting,
        limit_bytes: usize,
        group: Group,
    ) -> Self {
        Self { sender, waiting, limit_bytes, group, calls: 0 }
    }
}

/// Bytes that wait for a tap, and for its group.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    own: Arc<AtomicUsize>,
    of_group: Arc<AtomicUsize>,
}

impl Waiting {
    /// Returns counters of zero.
    pub(crate) fn new(of_group: Arc<AtomicUsize>) -> Self {
        Self { own: Arc::default(), of_group }
    }

    /// Adds bytes, and returns what waited before for the tap and for the group.
    fn add(&self, bytes: usize) -> (usize, usize) {
        (self.own.fetch_add(bytes, Ordering::AcqRel), self.of_group.fetch_add(bytes, Ordering::AcqRel))
    }

    pub(crate) fn remove(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::AcqRel);
        self.of_group.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// All taps of a connection, and the tap of each session.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    last: u64,
    outlets: HashMap<TapId, Outlet>,
    sessions: HashMap<SessionId, TapId>,
    /// The waiting bytes of each group that has taps.
    groups: HashMap<Group, Weak<AtomicUsize>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    session_id: SessionId,
}

impl Taps {
    pub(crate) fn add(&mut self, outlet: Outlet) -> TapId {
        self.last += 1;
        self.outlets.insert(TapId::of(self.last), outlet);
        TapId::of(self.last)
    }

    /// Returns the counter of a group.
    pub(crate) fn waiting_of(&mut self, group: &Group) -> Arc<AtomicUsize> {
        self.groups.retain(|_, waiting| waiting.strong_count() > 0);
        if let Some(waiting) = self.groups.get(group).and_then(Weak::upgrade) {
            return waiting;
        }
        let waiting = Arc::default();
        self.groups.insert(Arc::clone(group), Arc::downgrade(&waiting));
        waiting
    }

    /// Counts another call of a tap, if it may have one.
    pub(crate) fn may_call(&mut self, tap: TapId) -> bool {
        let Some(outlet) = self.outlets.get_mut(&tap) else { return false };
        let may = outlet.calls < MAX_TAP_CALLS;
        outlet.calls += usize::from(may);
        may
    }

    /// Notes that a call of a tap has ended.
    pub(crate) fn answered(&mut self, tap: TapId) {
        if let Some(outlet) = self.outlets.get_mut(&tap) {
            outlet.calls -= 1;
        }
    }

    /// Returns the group of the tap that a session belongs to.
    pub(crate) fn group_of(&self, session: &SessionId) -> Option<Group> {
        let outlet = self.outlets.get(self.sessions.get(session)?)?;
        Some(Arc::clone(&outlet.group))
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

    /// Passes a message on. The waiting bytes are limited by the limit and one message.
    pub(crate) fn deliver(&mut self, tap: TapId, message: &Bytes) {
        let Some(outlet) = self.outlets.get(&tap) else { return };
        let (waiting, of_group) = outlet.waiting.add(message.len());
        // If much waits for others of its group, a tap without waiting messages is still served.
        let is_full = waiting > outlet.limit_bytes || (waiting > 0 && of_group > GROUP_BACKLOG_BYTES);
        if is_full || outlet.sender.send(message.clone()).is_err() {
            outlet.waiting.remove(message.len());
            tracing::debug!(waiting, of_group, "a client does not take what is its and is cut off");
            self.remove(tap);
        }
    }

    /// Passes an event on if it belongs to a tap's session, and returns whether it did.
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
