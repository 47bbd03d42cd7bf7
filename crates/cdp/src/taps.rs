//! Which client's each session is, and what waits for each client.
//!
//! Sessions that come to be below a client's are the client's from their first event on, which is why that is seen
//! to here, where the stream is read. Whoever does not take what is its own is cut off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::envelope::{Envelope, SessionId};
use crate::load::Group;
use crate::outbound::TapId;

/// How many calls of one tap may wait for their replies.
pub const MAX_TAP_CALLS: usize = 2048;
/// How many bytes may wait for all taps of a group together, beside the messages that are passed on.
pub const GROUP_BACKLOG_BYTES: usize = 64 * 1024 * 1024;

/// The router's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    sender: mpsc::UnboundedSender<Bytes>,
    waiting: Waiting,
    limit_bytes: usize,
    group: Group,
    /// How many of its calls wait for their replies.
    calls: usize,
}

impl Outlet {
    /// One into which nothing was passed yet.
    pub(crate) fn new(
        sender: mpsc::UnboundedSender<Bytes>,
        waiting: Waiting,
        limit_bytes: usize,
        group: Group,
    ) -> Self {
        Self { sender, waiting, limit_bytes, group, calls: 0 }
    }
}

/// How many bytes wait for a tap, and for its group.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    own: Arc<AtomicUsize>,
    of_group: Arc<AtomicUsize>,
}

impl Waiting {
    /// Nothing waits for this one yet.
    pub(crate) fn new(of_group: Arc<AtomicUsize>) -> Self {
        Self { own: Arc::default(), of_group }
    }

    /// Returns what waited before, the tap's own and the group's.
    fn add(&self, bytes: usize) -> (usize, usize) {
        (self.own.fetch_add(bytes, Ordering::AcqRel), self.of_group.fetch_add(bytes, Ordering::AcqRel))
    }

    pub(crate) fn remove(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::AcqRel);
        self.of_group.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// All taps of a connection, and whose each session is.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    last: u64,
    outlets: HashMap<TapId, Outlet>,
    sessions: HashMap<SessionId, TapId>,
    /// What waits for each group that has taps.
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

    /// What waits for all taps of a group.
    pub(crate) fn waiting_of(&mut self, group: &Group) -> Arc<AtomicUsize> {
        self.groups.retain(|_, waiting| waiting.strong_count() > 0);
        if let Some(waiting) = self.groups.get(group).and_then(Weak::upgrade) {
            return waiting;
        }
        let waiting = Arc::default();
        self.groups.insert(Arc::clone(group), Arc::downgrade(&waiting));
        waiting
    }

    /// Counts one more call of a tap, where it may have another.
    pub(crate) fn may_call(&mut self, tap: TapId) -> bool {
        let Some(outlet) = self.outlets.get_mut(&tap) else { return false };
        let may = outlet.calls < MAX_TAP_CALLS;
        outlet.calls += usize::from(may);
        may
    }

    /// A call of a tap is over.
    pub(crate) fn answered(&mut self, tap: TapId) {
        if let Some(outlet) = self.outlets.get_mut(&tap) {
            outlet.calls -= 1;
        }
    }

    /// The group of the tap that a session belongs to.
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

    /// Passes a message on. The bytes that wait are bounded by the limit and one message.
    pub(crate) fn deliver(&mut self, tap: TapId, message: &Bytes) {
        let Some(outlet) = self.outlets.get(&tap) else { return };
        let (waiting, of_group) = outlet.waiting.add(message.len());
        // With much waiting for others of its group, the one that has none itself is served on.
        let is_full = waiting > outlet.limit_bytes || (waiting > 0 && of_group > GROUP_BACKLOG_BYTES);
        if is_full || outlet.sender.send(message.clone()).is_err() {
            outlet.waiting.remove(message.len());
            tracing::debug!(waiting, of_group, "a client does not take what is its and is cut off");
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
