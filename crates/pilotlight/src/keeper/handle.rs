//! What everybody else holds of the keeper: a way to send orders, and the published directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{Event, EventKind, PatchSession, Seconds, Session};
use pilotlight_core::{DueRefresh, HoldId, Memory, Moment, PolicyPatch, SessionId, ShardId, Spec};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::details::{Details, Published};
use super::events::Events;
use super::message::{HoldTerms, Message, Order, Refused, Reply};
use super::refreshes::RefreshCounts;
use super::using::Using;
use crate::clock::{Clock, timestamp};

/// All sessions as they were last published, the ended ones of the last hour among them.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Grows with every change.
    pub generation: u64,
    /// By id.
    pub sessions: BTreeMap<u128, Arc<Published>>,
    /// The browsers that run.
    pub browsers: BTreeMap<ShardId, BrowserProcess>,
    /// The refresh that is due longest and has not begun.
    pub due_refresh: Option<DueRefresh>,
    /// How often sessions were refreshed since the server started, and what came of it.
    pub refreshes: RefreshCounts,
}

impl Directory {
    /// By how much the refresh is late at `now` that is due longest, and how often it is to be.
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
    /// The shim that owns it, where there is one.
    pub shim_pid: Option<u32>,
}

/// The keeper, for everybody else. Cheap to clone.
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

    /// Tells whenever something else is published.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.clone()
    }

    /// All sessions, as last published.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.borrow())
    }

    /// One session, as last published.
    #[must_use]
    pub fn published(&self, id: Uuid) -> Option<Arc<Published>> {
        self.directory.borrow().sessions.get(&id.as_u128()).cloned()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Tells of something that happened to a session outside the rules of sessions.
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
            sentence,
            live_url: None,
            failure_url: None,
            dialog: None,
        });
    }

    /// Returns once a session has ended, or where there is none.
    pub async fn until_ended(&self, id: Uuid) {
        let ended = |directory: &Arc<Directory>| {
            directory.sessions.get(&id.as_u128()).is_none_or(|session| session.ended().is_some())
        };
        let mut directory = self.directory.clone();
        if directory.wait_for(ended).await.is_err() {
            // The keeper is gone, which says nothing of the session.
            std::future::pending::<()>().await;
        }
    }

    /// The clock that everything here goes by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Makes a session, or finds the equal one; answers once it stands.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn create(&self, spec: Spec, details: Details) -> Result<(Session, bool), Refused> {
        let order = Order::Create { spec: Box::new(spec), details: Box::new(details) };
        match self.order(Uuid::now_v7(), order).await? {
            Reply::Session(session, is_new) => Ok((*session, is_new)),
            _ => Err(Refused::Stopping),
        }
    }

    /// Changes name, policy or tags.
    ///
    /// # Errors
    /// Why it was not changed.
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

    /// Ends a session; answers once its window is gone.
    ///
    /// # Errors
    /// Why there is nothing to end.
    pub async fn close(&self, id: Uuid) -> Result<(), Refused> {
        self.order(id, Order::Close).await.map(drop)
    }

    /// Notes that somebody still wants the session.
    ///
    /// # Errors
    /// Why that is of no use.
    pub async fn ping(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Ping).await
    }

    /// Refreshes now, and signs in again where that is needed.
    ///
    /// # Errors
    /// Why it did not work; the session lives on.
    pub async fn refresh(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Refresh).await
    }

    /// Closes the window and opens it afresh.
    ///
    /// # Errors
    /// Why it does not stand again yet; the session lives on.
    pub async fn restart(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Restart).await
    }

    /// Lets the session's window stand still; answers once it does.
    ///
    /// # Errors
    /// Why it runs on.
    pub async fn freeze(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Freeze).await
    }

    /// Writes the session's state down and lets its window go.
    ///
    /// # Errors
    /// Why its window stays.
    pub async fn hibernate(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Hibernate).await
    }

    /// Brings the session's window back; answers once it stands.
    ///
    /// # Errors
    /// Why it does not; the session lives on.
    pub async fn wake(&self, id: Uuid) -> Result<Session, Refused> {
        self.session(id, Order::Wake).await
    }

    /// Lets every session hibernate, and nothing new begin; answers once no window is left.
    ///
    /// # Errors
    /// That somebody still holds one after `timeout`.
    pub async fn drain(&self, timeout: Duration) -> Result<(), Refused> {
        self.order(Uuid::nil(), Order::Drain { timeout }).await.map(drop)
    }

    /// Takes hold of a session; answers once nothing of ours runs in its pages.
    ///
    /// # Errors
    /// Why it cannot be held.
    pub async fn hold(&self, id: Uuid, terms: HoldTerms) -> Result<(Uuid, Moment), Refused> {
        let hold = HoldId(Uuid::now_v7().as_u128());
        self.held(id, Order::Hold { hold, terms }).await
    }

    /// Holds it for longer.
    ///
    /// # Errors
    /// Why not: the hold may have run out.
    pub async fn extend_hold(&self, id: Uuid, hold: Uuid, ttl: Duration) -> Result<(Uuid, Moment), Refused> {
        self.held(id, Order::ExtendHold { hold: HoldId(hold.as_u128()), ttl }).await
    }

    /// Keeps a hold from running out, without using the session.
    pub async fn keep_hold(&self, id: Uuid, hold: Uuid, ttl: Duration) {
        let (session, hold) = (SessionId(id.as_u128()), HoldId(hold.as_u128()));
        // A keeper that is gone keeps nothing.
        drop(self.messages.send(Message::HoldKept { session, hold, ttl }).await);
    }

    /// Has a session's window freeze like one that nobody uses, although the holder is still there, who has sent nothing
    /// for so long.
    pub(crate) async fn pause_hold(&self, id: Uuid, hold: Uuid, unused_for: Duration) {
        let (session, hold) = (SessionId(id.as_u128()), HoldId(hold.as_u128()));
        drop(self.messages.send(Message::HoldPaused { session, hold, unused_for }).await);
    }

    /// The holder goes on after a pause; answers once the window runs and nothing of ours runs in its pages.
    ///
    /// # Errors
    /// Why it cannot: the session may have ended.
    pub(crate) async fn resume_hold(&self, id: Uuid, hold: Uuid) -> Result<(), Refused> {
        self.order(id, Order::ResumeHold { hold: HoldId(hold.as_u128()) }).await.map(drop)
    }

    /// Tells which sites are in their quiet hours.
    pub(crate) async fn quiet(&self, sites: BTreeSet<pilotlight_core::SiteId>) {
        drop(self.messages.send(Message::Quiet { sites }).await);
    }

    /// Has the sessions that name a credential sign in with what it is now. Returns once that is written down.
    pub async fn credential_changed(&self, name: String) {
        let (written, waits) = oneshot::channel();
        // A keeper that is gone leaves it to the next one, which begins with what the credential is.
        drop(self.messages.send(Message::CredentialChanged { name, written }).await);
        let _ = waits.await;
    }

    /// Gives a hold back.
    ///
    /// # Errors
    /// That there is none.
    pub async fn release_hold(&self, id: Uuid, hold: Uuid) -> Result<(), Refused> {
        self.order(id, Order::ReleaseHold { hold: HoldId(hold.as_u128()) }).await.map(drop)
    }

    /// Borrows the window for one request; answers once nothing of ours runs in it.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn window(&self, id: Uuid) -> Result<Using, Refused> {
        match self.order(id, Order::Use).await? {
            Reply::Using(using) => Ok(using),
            _ => Err(Refused::Stopping),
        }
    }

    /// Tells the rules what was measured, all together and of single windows.
    pub async fn measured(&self, memory: Memory, windows: Vec<(SessionId, u64)>) {
        // A keeper that is gone needs no memory.
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
