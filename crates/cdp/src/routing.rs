//! Routing of messages: replies to calls, events to subscribers.
//!
//! The reader must never wait for a subscriber, since that subscriber may itself wait for a reply. A subscriber that
//! does not keep up therefore loses its subscription, never single events without notice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, oneshot};

use crate::command::Notification;
use crate::envelope::{Envelope, RemoteError, SessionId, error_reply};
use crate::framing::{MAX_MESSAGE_BYTES, PassedOver};
use crate::load::{Excess, Group, Source};
use crate::outbound::{Outbound, TapId};
use crate::taps::{Outlet, Taps};

/// Our own calls that may wait for their replies at once. Those of taps are counted separately (see
/// [`crate::MAX_TAP_CALLS`]).
pub const MAX_PENDING_CALLS: usize = 16_384;

/// The method of an event that Chromium did not send: one of its messages was too long, and was skipped. It belongs
/// to the session of the message; if that belongs to a tap, it belongs to the root and names the tap's group.
pub const MESSAGE_TOO_LONG: &str = "Pilotlight.messageTooLong";

/// The method of an event that Chromium did not send: a window of a shared browser transfers more than the others can
/// tolerate (see [`crate::BURST_BYTES`]). It is addressed like [`MESSAGE_TOO_LONG`].
pub const HOLDS_OTHERS_UP: &str = "Pilotlight.holdsOthersUp";
/// The same if that does not end.
pub const FLOODS: &str = "Pilotlight.floods";

/// The code of a reply in place of one that was too long: JSON-RPC's for errors of a server.
const TOO_LONG_CODE: i64 = -32000;

/// The largest id of a call: Chromium reads it as a signed number of 32 bits
/// (`third_party/inspector_protocol/crdtp/dispatch.cc`). It is followed by 1.
const MAX_ID: i64 = i32::MAX as i64;

/// The result of a call: the raw reply, or Chromium's refusal. A dropped sender means a closed connection.
pub(crate) type RawReply = Result<Box<RawValue>, RemoteError>;

/// The part of an event about a target that is read: its context, which identifies its window.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldTarget {
    target_info: InContext,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InContext {
    browser_context_id: Option<String>,
}

/// The events of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All events of the connection, in order.
    All,
    /// Events of the root.
    Root,
    /// Events of one session.
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

/// An event as it was received.
#[derive(Debug, Clone)]
pub struct Event {
    /// The session; `None` is the root.
    pub session: Option<SessionId>,
    /// The protocol's name.
    pub method: String,
    /// The payload, unchanged.
    pub params: Box<RawValue>,
}

impl Event {
    /// Returns the payload, if the event is an `N` and can be parsed.
    pub fn read<N: Notification>(&self) -> Option<N> {
        if self.method != N::METHOD {
            return None;
        }
        serde_json::from_str(self.params.get())
            .inspect_err(|error| tracing::debug!(method = N::METHOD, %error, "event of unknown shape"))
            .ok()
    }
}

/// A stream of events. It ends when the connection closes or its queue overflows.
#[derive(Debug)]
pub struct Subscription {
    receiver: mpsc::Receiver<Arc<Event>>,
}

impl Subscription {
    /// Returns the next event, or `None` at the end.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        self.receiver.recv().await
    }

    /// Returns the next event if it has arrived. Events that were sent before a reply have arrived when the reply
    /// has.
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
    /// The number of our own calls.
    own_calls: usize,
    subscribers: Vec<Subscriber>,
    taps: Taps,
    /// The group of each of our own sessions that has one.
    own_groups: HashMap<SessionId, Group>,
}

/// The receiver of a reply.
#[derive(Debug)]
enum Waiter {
    /// A call of our own.
    Call(oneshot::Sender<RawReply>),
    /// A tap, which gets it unchanged.
    Tap(TapId),
    /// The writer, which probes the browser's progress.
    Probe,
}

impl Tables {
    /// Returns whether the receiver of this reply has given up.
    fn take(&mut self, id: i64) -> Option<Waiter> {
        let waiter = self.pending.remove(&id)?;
        match waiter {
            Waiter::Call(_) => self.own_calls -= 1,
            Waiter::Tap(tap) => self.taps.answered(tap),
            Waiter::Probe => {}
        }
        Some(waiter)
    }

    /// There always is a free one: windows, their clients and the calls of each are limited, and so are our own.
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
    outbound: Arc<Outbound>,
}

/// Why a call cannot be registered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    Closed,
    TooMany,
}

impl Router {
    /// Returns tables whose first call has the id `next_id`.
    pub(crate) fn with_next_id(next_id: i32, outbound: Arc<Outbound>) -> Self {
        let tables = Tables { last_id: i64::from(next_id) - 1, ..Tables::default() };
        Self { tables: Mutex::new(tables), outbound }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }

    /// Returns a new id and the channel of its reply.
    pub(crate) fn register(self: &Arc<Self>) -> Result<PendingCall, NotRegistered> {
        let mut tables = self.tables();
        if tables.closed {
            return Err(NotRegistered::Closed);
        }
        if tables.own_calls >= MAX_PENDING_CALLS {
            return Err(NotRegistered::TooMany);
        }
        let id = tables.free_id();
        let (sender, reply) = oneshot::channel();
        tables.own_calls += 1;
        tables.pending.insert(id, Waiter::Call(sender));
        Ok(PendingCall { id, reply, router: Arc::clone(self) })
    }

    /// Returns a new id for a call of a tap.
    pub(crate) fn register_for(&self, tap: TapId) -> Option<i64> {
        let mut tables = self.tables();
        if tables.closed || !tables.taps.may_call(tap) {
            return None;
        }
        let id = tables.free_id();
        tables.pending.insert(id, Waiter::Tap(tap));
        Some(id)
    }

    /// Returns a new id for a probe of the writer.
    pub(crate) fn register_probe(&self) -> Option<i64> {
        let mut tables = self.tables();
        if tables.closed {
            return None;
        }
        let id = tables.free_id();
        tables.pending.insert(id, Waiter::Probe);
        Some(id)
    }

    pub(crate) fn waiting_of(&self, group: &Group) -> Arc<AtomicUsize> {
        self.tables().taps.waiting_of(group)
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

    /// Passes one message to its receiver: `message` as it was received, `envelope` as it was parsed.
    pub(crate) fn route(&self, envelope: &Envelope<'_>, message: &Bytes) {
        if self.outbound.loads.is_shared()
            && let Some(source) = self.source_of_message(envelope)
        {
            self.moved(source, message.len(), envelope.id.is_none());
        }
        if let Some(id) = envelope.id {
            let mut tables = self.tables();
            match tables.take(id) {
                Some(Waiter::Call(sender)) => {
                    drop(tables);
                    let _ = sender.send(reply_of(envelope));
                }
                Some(Waiter::Tap(tap)) => tables.taps.deliver(tap, message),
                Some(Waiter::Probe) => {
                    drop(tables);
                    self.outbound.probe_answered();
                }
                // The receiver has been dropped if the call timed out.
                None => {}
            }
        } else if self.tables().taps.event(envelope, message) {
            // The event of a session that belongs to a tap is passed only to that.
        } else if let Some(method) = &envelope.method {
            self.publish(Arc::new(Event {
                session: envelope.session.as_ref().map(|session| SessionId::from(&*session.0)),
                method: method.0.clone().into_owned(),
                params: envelope.params.map_or_else(empty_object, ToOwned::to_owned),
            }));
        }
    }

    /// Handles a message that was too long: its receiver gets an error, and subscribers an event with its session.
    pub(crate) fn pass_over(&self, message: &PassedOver) {
        let session = message.session();
        let Some(id) = message.call() else {
            // If it is our own, the event belongs to the session, that is to its page.
            let source = session.map(|session| match self.source_of(&session) {
                Source::Own(_) => Source::Session(session),
                source => source,
            });
            return self.tell_of(source, MESSAGE_TOO_LONG);
        };
        let sentence = format!("The reply is longer than {MAX_MESSAGE_BYTES} bytes");
        let mut tables = self.tables();
        match tables.take(id) {
            Some(Waiter::Call(sender)) => {
                let _ = sender.send(Err(RemoteError { code: TOO_LONG_CODE, message: sentence }));
            }
            Some(Waiter::Tap(tap)) => {
                let session = session.as_ref().map(SessionId::as_str);
                let reply = error_reply(id, session, TOO_LONG_CODE, &sentence);
                tables.taps.deliver(tap, &reply.into());
            }
            Some(Waiter::Probe) | None => {}
        }
    }

    /// Counts what a session has transferred, if it shares its browser; `is_unasked` is whether it was an event.
    pub(crate) fn session_moved(&self, session: &SessionId, bytes: usize, is_unasked: bool) {
        if self.outbound.loads.is_shared() {
            self.moved(self.source_of(session), bytes, is_unasked);
        }
    }

    /// Counts a transfer, and emits an event if it was too much.
    pub(crate) fn moved(&self, source: Source, bytes: usize, is_unasked: bool) {
        let method = match self.outbound.loads.add(source.clone(), bytes, is_unasked) {
            Some(Excess::HoldsUp) => HOLDS_OTHERS_UP,
            Some(Excess::Floods) => FLOODS,
            None => return,
        };
        self.tell_of(Some(source), method);
    }

    /// Returns the source of a message of the browser. Events of a target are caused by that target's window, and not
    /// by the clients that enabled them: every client gets those of all windows.
    fn source_of_message(&self, envelope: &Envelope<'_>) -> Option<Source> {
        let told = envelope.method.as_ref().and_then(|method| method.0.strip_prefix("Target.target"));
        match told {
            Some("Created" | "InfoChanged") => {
                let told: ToldTarget = serde_json::from_str(envelope.params?.get()).ok()?;
                Some(Source::Own(told.target_info.browser_context_id?.into()))
            }
            // They name no window, and are short.
            Some(_) => None,
            None => Some(self.source_of(&SessionId::from(&*envelope.session.as_ref()?.0))),
        }
    }

    fn source_of(&self, session: &SessionId) -> Source {
        let tables = self.tables();
        match (tables.taps.group_of(session), tables.own_groups.get(session)) {
            (Some(group), _) => Source::Group(group),
            (None, Some(group)) => Source::Own(Group::clone(group)),
            (None, None) => Source::Session(session.clone()),
        }
    }

    /// Sets the group of one of our own sessions; `None` if it has ended.
    pub(crate) fn set_own_group(&self, session: &SessionId, group: Option<&str>) {
        let own_groups = &mut self.tables().own_groups;
        match group {
            Some(group) => own_groups.insert(session.clone(), group.into()),
            None => own_groups.remove(session),
        };
    }

    /// Publishes an event that Chromium did not send.
    fn tell_of(&self, source: Option<Source>, method: &str) {
        let (session, params) = match source {
            Some(Source::Group(group) | Source::Own(group)) => {
                (None, to_raw_value(&json!({ "group": &*group })).ok())
            }
            Some(Source::Session(session)) => (Some(session), None),
            None => (None, None),
        };
        let params = params.unwrap_or_else(empty_object);
        self.publish(Arc::new(Event { session, method: method.into(), params }));
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
        tables.own_calls = 0;
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
    // `to_raw_value` of a unit struct without fields cannot fail; `null` is never used.
    to_raw_value(&serde_json::Map::new()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A pending call. It is removed when this is dropped, so that abandoned calls do not accumulate.
#[derive(Debug)]
pub(crate) struct PendingCall {
    pub(crate) id: i64,
    pub(crate) reply: oneshot::Receiver<RawReply>,
    router: Arc<Router>,
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        let mut tables = self.router.tables();
        if matches!(tables.pending.get(&self.id), Some(Waiter::Call(_))) {
            tables.take(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_again_after_the_largest_and_pass_over_those_in_use() {
        let router = Arc::new(Router::with_next_id(i32::MAX - 1, Arc::default()));
        let mut calls: Vec<PendingCall> = (0..3).map(|_| router.register().unwrap()).collect();
        let ids: Vec<i64> = calls.iter().map(|call| call.id).collect();
        assert_eq!(ids, [MAX_ID - 1, MAX_ID, 1]);
        drop(calls.drain(..2));
        router.tables().last_id = MAX_ID;
        assert_eq!(router.register().unwrap().id, 2, "1 still waits");
    }

    /// Every client hears of all targets, and each of those can have an address of 2 MiB.
    #[tokio::test]
    async fn what_is_told_of_a_target_counts_for_its_window_and_not_for_who_listens() {
        let outbound = Arc::<Outbound>::default();
        outbound.loads.set_shared(true);
        let router = Arc::new(Router::with_next_id(1, Arc::clone(&outbound)));
        let (client, mut heard) = crate::tap::open(&router, &outbound, "A", 1_000);
        client.adopt("S".into());
        let mut subscription = router.subscribe(Scope::Root, 10);
        let url = "x".repeat(2 << 20);
        for kind in ["Created", "InfoChanged"] {
            for _ in 0..20 {
                let event = format!(
                    r#"{{"method":"Target.target{kind}","params":{{"targetInfo":{{"targetId":"T","type":"page","url":"{url}","browserContextId":"B"}}}},"sessionId":"S"}}"#
                );
                router.route(&Envelope::parse(event.as_bytes()).unwrap(), &Bytes::from(event.clone()));
                assert!(heard.try_next().is_some());
            }
        }
        let told = subscription.try_next().unwrap();
        assert_eq!((told.method.as_str(), told.params.get()), (HOLDS_OTHERS_UP, r#"{"group":"B"}"#));
        assert!(subscription.try_next().is_none() && client.rests_until().is_none());
    }

    #[test]
    fn neither_clients_nor_our_own_calls_take_the_places_of_others() {
        let outbound = Arc::default();
        let router = Arc::new(Router::with_next_id(1, Arc::clone(&outbound)));
        let taps: Vec<_> = (0..12).map(|_| crate::tap::open(&router, &outbound, "A", 1_000)).collect();
        for (tap, _) in &taps {
            assert_eq!((0..3_000).filter(|_| tap.next_id().is_some()).count(), crate::taps::MAX_TAP_CALLS);
        }
        let mut calls = Vec::new();
        while let Ok(call) = router.register() {
            calls.push(call);
        }
        assert_eq!(calls.len(), MAX_PENDING_CALLS);
        let (other, mut heard) = crate::tap::open(&router, &outbound, "B", 1_000);
        let id = other.next_id().unwrap();
        calls.pop();
        drop(router.register().unwrap());
        // What is answered gives its place back.
        for _ in 0..2 * crate::taps::MAX_TAP_CALLS {
            let reply = format!(r#"{{"id":{id},"result":{{}}}}"#);
            router.route(&Envelope::parse(reply.as_bytes()).unwrap(), &Bytes::from(reply.clone()));
            assert!(heard.try_next().is_some());
            router.tables().last_id = id - 1;
            assert_eq!(other.next_id(), Some(id));
        }
        drop(taps);
        // Our own, but for the one that was given up, and the one of the other window.
        assert_eq!(router.tables().pending.len(), calls.len() + 1, "with the clients go their calls");
    }
}
