//! Who waits for which message: calls for their replies, subscribers for events.
//!
//! The reader must never wait for a subscriber, since that subscriber may itself wait for a reply. A
//! subscriber that does not keep up therefore loses its subscription, never single events in silence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::command::Notification;
use crate::envelope::{Envelope, SessionId};
use crate::error::RemoteError;
use crate::tap::{Outlet, TapId, Taps};

/// How many calls may wait for their replies at once.
pub const MAX_PENDING_CALLS: usize = 16_384;

/// The largest id of a call: Chromium reads it as a signed number of 32 bits
/// (`third_party/inspector_protocol/crdtp/dispatch.cc`). After it comes 1 again.
const MAX_ID: i64 = i32::MAX as i64;

/// What a call gets: the raw result, or Chromium's refusal. A dropped sender means a closed connection.
pub(crate) type RawReply = Result<Box<RawValue>, RemoteError>;

/// Which events a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All events of the connection, in their order.
    All,
    /// Events of the root alone.
    Root,
    /// Events of one session alone.
    Session(SessionId),
}

impl Scope {
    fn wants(&self, session: Option<&SessionId>) -> bool {
        match self {
            Self::All => true,
            Self::Root => session.is_none(),
            Self::Session(wanted) => session == Some(wanted),
        }
    }
}

/// An event as it came.
#[derive(Debug, Clone)]
pub struct Event {
    /// Whose event; `None` is the root's.
    pub session: Option<SessionId>,
    /// The protocol's name.
    pub method: String,
    /// The payload, untouched.
    pub params: Box<RawValue>,
}

impl Event {
    /// The payload, where this is an `N` and can be read as one.
    pub fn read<N: Notification>(&self) -> Option<N> {
        if self.method != N::METHOD {
            return None;
        }
        serde_json::from_str(self.params.get())
            .inspect_err(|error| tracing::debug!(method = N::METHOD, %error, "event of unknown shape"))
            .ok()
    }
}

/// A stream of events. It ends when the connection closes or when its queue ran over.
#[derive(Debug)]
pub struct Subscription {
    receiver: mpsc::Receiver<Arc<Event>>,
}

impl Subscription {
    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        self.receiver.recv().await
    }

    /// The next event that is there already. Events that came before a reply are there once the reply is.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        self.receiver.try_recv().ok()
    }
}

#[derive(Debug)]
struct Subscriber {
    scope: Scope,
    sender: mpsc::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Tables {
    closed: bool,
    last_id: i64,
    pending: HashMap<i64, Waiter>,
    subscribers: Vec<Subscriber>,
    taps: Taps,
}

/// Who waits for a reply.
#[derive(Debug)]
enum Waiter {
    /// A call of ours.
    Call(oneshot::Sender<RawReply>),
    /// A tap, which gets it as it comes.
    Tap(TapId),
}

impl Tables {
    /// There always is one: fewer than [`MAX_PENDING_CALLS`] are taken.
    fn free_id(&mut self) -> i64 {
        loop {
            self.last_id = if self.last_id >= MAX_ID { 1 } else { self.last_id + 1 };
            if !self.pending.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

/// The tables, shared by the reader task and every handle. The lock is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Router {
    tables: Mutex<Tables>,
}

/// Why a call cannot be registered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    Closed,
    TooMany,
}

impl Router {
    /// One whose first call has the id `next_id`.
    pub(crate) fn with_next_id(next_id: i32) -> Self {
        let tables = Tables { last_id: i64::from(next_id) - 1, ..Tables::default() };
        Self { tables: Mutex::new(tables) }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh id and the place where its reply will arrive.
    pub(crate) fn register(self: &Arc<Self>) -> Result<PendingCall, NotRegistered> {
        let mut tables = self.tables();
        if tables.closed {
            return Err(NotRegistered::Closed);
        }
        if tables.pending.len() >= MAX_PENDING_CALLS {
            return Err(NotRegistered::TooMany);
        }
        let id = tables.free_id();
        let (sender, reply) = oneshot::channel();
        tables.pending.insert(id, Waiter::Call(sender));
        Ok(PendingCall { id, reply, router: Arc::clone(self) })
    }

    /// A fresh id for a call of a tap.
    pub(crate) fn register_for(&self, tap: TapId) -> Option<i64> {
        let mut tables = self.tables();
        if tables.closed || tables.pending.len() >= MAX_PENDING_CALLS {
            return None;
        }
        let id = tables.free_id();
        tables.pending.insert(id, Waiter::Tap(tap));
        Some(id)
    }

    pub(crate) fn add_tap(&self, outlet: Outlet) -> TapId {
        let mut tables = self.tables();
        // The outlet of a closed connection is dropped, which ends its tap.
        if tables.closed { TapId::NONE } else { tables.taps.add(outlet) }
    }

    pub(crate) fn adopt(&self, tap: TapId, session: SessionId) {
        self.tables().taps.adopt(tap, session);
    }

    pub(crate) fn remove_tap(&self, tap: TapId) {
        let mut tables = self.tables();
        tables.taps.remove(tap);
        tables.pending.retain(|_, waiter| !matches!(waiter, Waiter::Tap(of) if *of == tap));
    }

    pub(crate) fn subscribe(&self, scope: Scope, capacity: usize) -> Subscription {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let mut tables = self.tables();
        if !tables.closed {
            tables.subscribers.push(Subscriber { scope, sender });
        }
        Subscription { receiver }
    }

    /// Hands one message to whoever waits for it: `message` as it came, `envelope` as it was read.
    pub(crate) fn route(&self, envelope: &Envelope<'_>, message: &Bytes) {
        if let Some(id) = envelope.id {
            let mut tables = self.tables();
            match tables.pending.remove(&id) {
                Some(Waiter::Call(sender)) => {
                    drop(tables);
                    let _ = sender.send(reply_of(envelope));
                }
                Some(Waiter::Tap(tap)) => tables.taps.deliver(tap, message),
                // Nobody waits any more where the call ran out of time.
                None => {}
            }
        } else if self.tables().taps.event(envelope, message) {
            // The event of a session that belongs to a tap is nobody else's.
        } else if let Some(method) = &envelope.method {
            self.publish(Arc::new(Event {
                session: envelope.session.as_ref().map(|session| SessionId::from(&*session.0)),
                method: method.0.clone().into_owned(),
                params: envelope.params.map_or_else(empty_object, ToOwned::to_owned),
            }));
        }
    }

    fn publish(&self, event: Arc<Event>) {
        self.tables().subscribers.retain(|subscriber| {
            if !subscriber.scope.wants(event.session.as_ref()) {
                return !subscriber.sender.is_closed();
            }
            match subscriber.sender.try_send(Arc::clone(&event)) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    tracing::warn!(scope = ?subscriber.scope, "subscriber too slow, its subscription ends");
                    false
                }
            }
        });
    }

    /// Ends every call and every subscription.
    pub(crate) fn close(&self) {
        let mut tables = self.tables();
        tables.closed = true;
        tables.pending.clear();
        tables.subscribers.clear();
        tables.taps = Taps::default();
    }
}

fn reply_of(envelope: &Envelope<'_>) -> RawReply {
    match envelope.refusal() {
        Some(error) => Err(error),
        None => Ok(envelope.result.map_or_else(empty_object, ToOwned::to_owned)),
    }
}

fn empty_object() -> Box<RawValue> {
    // `to_raw_value` of a unit struct with no fields cannot fail; `null` stands in for the impossible.
    serde_json::value::to_raw_value(&serde_json::Map::new()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A call under way. Dropped, it is forgotten, so that abandoned calls do not pile up.
#[derive(Debug)]
pub(crate) struct PendingCall {
    pub(crate) id: i64,
    pub(crate) reply: oneshot::Receiver<RawReply>,
    router: Arc<Router>,
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.router.tables().pending.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_again_after_the_largest_and_pass_over_those_in_use() {
        let router = Arc::new(Router::with_next_id(i32::MAX - 1));
        let mut calls: Vec<PendingCall> = (0..3).map(|_| router.register().unwrap()).collect();
        let ids: Vec<i64> = calls.iter().map(|call| call.id).collect();
        assert_eq!(ids, [MAX_ID - 1, MAX_ID, 1]);
        drop(calls.drain(..2));
        router.tables().last_id = MAX_ID;
        assert_eq!(router.register().unwrap().id, 2, "1 still waits");
    }
}
