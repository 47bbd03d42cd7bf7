//! The interface of the keeper for all other code: sending orders, and reading the published directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{Event, EventKind, PatchSession, Seconds, Session};
use pilotlight_core::{DueRefresh, HoldId, Memory, Moment, PolicyPatch, SessionId, ShardId, Spec};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::details::{Published, SessionDetails};
use super::events::Events;
use super::message::{HoldTerms, Message, Order, Refused, Reply};
use super::refreshes::RefreshCounts;
use super::using::Using;
use crate::clock::{Clock, timestamp};

/// All sessions as last published, among them those that ended in the last hour.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Increases with every change.
    pub generation: u64,
    /// By id.
    pub sessions: BTreeMap<u128, Arc<Published>>,
    /// The running browsers.
    pub browsers: BTreeMap<ShardId, BrowserProcess>,
    /// The refresh that has been due longest and has not begun.
    pub due_refresh: Option<DueRefresh>,
    /// Counts of refreshes since the server started, by way and outcome.
    pub refreshes: RefreshCounts,
}

impl Directory {
    /// Returns the delay at `now` of the refresh that has been due longest, and its interval.
    #[must_use]
    pub fn late_refresh(&self, now: Moment) -> Option<(Duration, Duration)> {
        let due = self.due_refresh.filter(|due| due.at < now)?;
        Some((now.since(due.at), due.interval))
    }
}

/// The processes of a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrowserProcess {
    /// Its main process.
    pub pid: u32,
    /// The shim that owns it, if there is one.
    pub shim_pid: Option<u32>,
}

/// Sends orders to the keeper, and reads what it publishes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeeperHandle {
    messages: mpsc::Sender<Message>,
    directory: watch::Receiver<Arc<Directory>>,
    events: Events,
    clock: Clock,
}

impl KeeperHandle {
    pub(super) fn new(
        messages: mpsc::Sender<Message>,
        directory: watch::Receiver<Arc<Directory>>,
        events: Events,
        clock: Clock,
    ) -> Self {
        Self { messages, directory, events, clock }
    }

    /// Returns a receiver that is notified of every change of the directory.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.clone()
    }

    /// Returns all sessions, as last published.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.borrow())
    }

    /// Returns one session, as last published.
    #[must_use]
    pub fn published(&self, id: Uuid) -> Option<Arc<Published>> {
        self.directory.borrow().sessions.get(&id.as_u128()).cloned()
    }

    /// Returns the events from now on.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Publishes an event of a session that does not come from the rules.
    pub fn announce(&self, session: Uuid, kind: EventKind, reason: &str, sentence: String) {
        let published = self.published(session).map(|published| published.now());
        self.events.tell(Event {
            id: 0,
            time: timestamp(self.clock.now()),
            session_id: Some(session),
            name: published.as_ref().and_then(|session| session.name.clone()),
            kind,
            state: published.map(|session| session.state),
            reason: reason.to_owned(),
            message: sentence,
            live_url: None,
            failure_url: None,
            dialog: None,
        });
    }

    /// Returns once a session has ended, or immediately if there is none.
    pub async fn until_ended(&self, id: Uuid) {
        let ended = |directory: &Arc<Directory>| {
            directory.sessions.get(&id.as_u128()).is_none_or(|session| session.ended().is_some())
        };
        let mut directory = self.directory.clone();
        if directory.wait_for(ended).await.is_err() {
            // The keeper has stopped, which says nothing of the session.
            std::future::pending::<()>().await;
        }
    }

    /// Returns the server's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Creates a session, or finds the existing one; returns once it is ready.
    ///
    /// # Errors
    /// The reason for a refusal or failure.
    pub async fn create(&self, spec: Spec, details: SessionDetails) -> Result<(Session, bool), Refused> {
        let order = Order::Create { spec: Box::new(spec), details: Box::new(details) };
        match self.order(Uuid::now_v7(), order).await? {
            Reply::Session(session, is_new) => Ok((*session, is_new)),
            _ => Err(Refused::Stopping),
        }
    }

    /// Changes name, policy or tags.
    ///
    /// # Errors
    /// The reason for a refusal.
    pub async fn patch(&self, id: Uuid, patch: PatchSession) -> Result<Session, Refused> {
        let policy = PolicyPatch {
            name: patch.name,
            keep_alive: patch.keep_alive,
            never_terminate: patch.never_terminate,
            idle_timeout: patch.idle_timeout.map(Seconds::to_duration),
            refresh_interval: patch.refresh_interval.map(Seconds::unless_never),
        };
        self.session(id, Order::Patch { patch: policy, tags: patch.tags }).await
    }

    /// Closes a session; returns once its window is closed.
    ///
    /// # Errors
    /// The reason for a refusal.
    pub async fn close(&self, id: Uuid) -> Result<(), Refused> {
        self.order(id, Order::Close).await.map(drop)
    }

    /// Marks the session as used.
    ///
    /// # Errors
    /// The reason for a refusal.
    pub async fn ping(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Ping).await
    }

    /// Refreshes the session, and signs it in again if necessary.
    ///
    /// # Errors
    /// The reason for a refusal or failure; the session continues.
    pub async fn refresh(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Refresh).await
    }

    /// Closes the window and opens a new one.
    ///
    /// # Errors
    /// The reason for a refusal or failure; the session continues.
    pub async fn restart(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Restart).await
    }

    /// Freezes the session's window; returns once it is frozen.
    ///
    /// # Errors
    /// The reason for a refusal or failure.
    pub async fn freeze(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Freeze).await
    }

    /// Saves the session's state and closes its window.
    ///
    /// # Errors
    /// The reason for a refusal or failure.
    pub async fn hibernate(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Hibernate).await
    }

    /// Restores the session's window; returns once it is ready.
    ///
    /// # Errors
    /// The reason for a refusal or failure; the session continues.
    pub async fn wake(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Wake).await
    }

    /// Drains the server: all sessions hibernate, and nothing new begins. Returns once no window is left.
    ///
    /// # Errors
    /// If a session is still held after `timeout`.
    pub async fn drain(&self, timeout: Duration) -> Result<(), Refused> {
        self.order(Uuid::nil(), Order::Drain { timeout }).await.map(drop)
    }

    /// Holds a session; returns once no activity runs in its pages.
    ///
    /// # Errors
    /// The reason for a refusal.
    pub async fn hold(&self, id: Uuid, terms: HoldTerms) -> Result<(Uuid, Moment), Refused> {
        let hold = HoldId(Uuid::now_v7().as_u128());
        self.held(id, Order::Hold { hold, terms }).await
    }

    /// Extends a hold.
    ///
    /// # Errors
    /// The reason for a refusal: the hold may have expired.
    pub async fn extend_hold(&self, id: Uuid, hold: Uuid, ttl: Duration) -> Result<(Uuid, Moment), Refused> {
        self.held(id, Order::ExtendHold { hold: HoldId(hold.as_u128()), ttl }).await
    }

    /// Prevents a hold from expiring, without using the session.
    pub async fn keep_hold(&self, id: Uuid, hold: Uuid, ttl: Duration) {
        let (session, hold) = (SessionId(id.as_u128()), HoldId(hold.as_u128()));
        // If the keeper has stopped, there are no holds.
        drop(self.messages.send(Message::HoldKept { session, hold, ttl }).await);
    }

    /// Allows a session's window to freeze as if it were not in use, although the holder, who has sent nothing for
    /// this time, is still connected.
    pub(crate) async fn pause_hold(&self, id: Uuid, hold: Uuid, unused_for: Duration) {
        let (session, hold) = (SessionId(id.as_u128()), HoldId(hold.as_u128()));
        drop(self.messages.send(Message::HoldPaused { session, hold, unused_for }).await);
    }

    /// Continues after silence of the holder; returns once the window runs and no activity runs in its pages.
    ///
    /// # Errors
    /// The reason for a refusal: the session may have ended.
    pub(crate) async fn resume_hold(&self, id: Uuid, hold: Uuid) -> Result<(), Refused> {
        self.order(id, Order::ResumeHold { hold: HoldId(hold.as_u128()) }).await.map(drop)
    }

    /// Sets the sites that have quiet hours now.
    pub(crate) async fn quiet(&self, sites: BTreeSet<pilotlight_core::SiteId>) {
        drop(self.messages.send(Message::Quiet { sites }).await);
    }

    /// Has the sessions of a credential sign in with its present values. Returns once that is stored.
    pub async fn credential_changed(&self, name: String) {
        let (written, waits) = oneshot::channel();
        // If the keeper has stopped, the next server starts with the new values.
        drop(self.messages.send(Message::CredentialChanged { name, written }).await);
        let _ = waits.await;
    }

    /// Releases a hold.
    ///
    /// # Errors
    /// If there is none.
    pub async fn release_hold(&self, id: Uuid, hold: Uuid) -> Result<(), Refused> {
        self.order(id, Order::ReleaseHold { hold: HoldId(hold.as_u128()) }).await.map(drop)
    }

    /// Leases the window for one request; returns once no activity runs in it.
    ///
    /// # Errors
    /// The reason for a refusal.
    pub async fn window(&self, id: Uuid) -> Result<Using, Refused> {
        match self.order(id, Order::Use).await? {
            Reply::Using(using) => Ok(using),
            _ => Err(Refused::Stopping),
        }
    }

    /// Passes measurements to the rules, of all browsers together and of single windows.
    pub async fn measured(&self, memory: Memory, windows: Vec<(SessionId, u64)>) {
        // A keeper that has stopped needs no measurements.
        drop(self.messages.send(Message::Measured { memory, windows }).await);
    }

    async fn session(&self, id: Uuid, order: Order) -> Result<Session, Refused> {
        match self.order(id, order).await? {
            Reply::Session(session, _) => Ok(*session),
            _ => Err(Refused::Stopping),
        }
    }

    async fn held(&self, id: Uuid, order: Order) -> Result<(Uuid, Moment), Refused> {
        match self.order(id, order).await? {
            Reply::Hold(hold, expires_at) => Ok((Uuid::from_u128(hold.0), expires_at)),
            _ => Err(Refused::Stopping),
        }
    }

    async fn order(&self, id: Uuid, order: Order) -> Result<Reply, Refused> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Order { session: SessionId(id.as_u128()), order, reply };
        self.messages.send(message).await.map_err(|_| Refused::Stopping)?;
        answer.await.unwrap_or(Err(Refused::Stopping))
    }
}
