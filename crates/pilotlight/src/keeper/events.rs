//! Events, for current listeners and, for a while, for later ones. Publishing never waits: a slow listener misses
//! events and is told so.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use pilotlight_api::{Event, EventKind, SessionState};
use pilotlight_chromium::{AnsweredBy, AnsweredDialog};
use pilotlight_core::{Notice, Session};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::details::{event_kind, state};
use crate::failures::Failures;

/// Events kept for listeners that fall behind.
const MAX_BEHIND: usize = 1024;
/// Events kept for listeners that connect later.
const MAX_KEPT: usize = 4096;

/// The stream of events.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    past: Arc<Mutex<Past>>,
    address: SocketAddr,
    failures: Failures,
}

#[derive(Debug, Default)]
struct Past {
    last: u64,
    kept: VecDeque<Arc<Event>>,
    /// Sessions that need a person, as last announced.
    in_need: BTreeSet<Uuid>,
}

impl Events {
    /// Returns an empty stream. `address` is the server's address, as clients see it.
    pub(super) fn new(address: SocketAddr, failures: Failures) -> Self {
        Self { sender: broadcast::Sender::new(MAX_BEHIND), past: Arc::default(), address, failures }
    }

    /// Returns all events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    /// Returns the kept events after the one with this number, and all events from now on. A number that was not used
    /// yet comes from an earlier server.
    #[must_use]
    pub fn subscribe_after(&self, after: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = self.past();
        let after = if after > past.last { 0 } else { after };
        let missed = past.kept.iter().filter(|event| event.id > after).cloned().collect();
        (missed, self.sender.subscribe())
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock()
    }

    /// Returns the number of the newest event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.past().last
    }

    /// Returns the address of the report of a session's latest failed sign-in, if there is one.
    pub(super) fn failure_url(&self, session: Uuid) -> Option<String> {
        self.failures.has(session).then(|| format!("http://{}/sessions/{session}/failure", self.address))
    }

    pub(super) fn announce(&self, notice: &Notice, name: Option<String>, time: Timestamp) {
        let (kind, reason) = event_kind(notice.kind);
        self.tell(Event {
            id: 0,
            time,
            session_id: Some(Uuid::from_u128(notice.session.0)),
            name,
            kind,
            state: Some(state(notice.state)),
            reason: reason.to_owned(),
            message: notice.reason.clone(),
            live_url: None,
            failure_url: None,
            dialog: None,
        });
    }

    /// Announces a session that needs a person since an earlier server.
    pub(super) fn still_needs(&self, session: &Session, time: Timestamp) {
        let id = Uuid::from_u128(session.id.0);
        if state(session.state()) != SessionState::NeedsAttention || !self.past().in_need.insert(id) {
            return;
        }
        let kind = EventKind::NeedsAttention;
        self.tell(Event {
            id: 0,
            time,
            session_id: Some(id),
            name: session.name.clone(),
            kind,
            state: Some(SessionState::NeedsAttention),
            reason: kind.as_str().to_owned(),
            message: session.attention.clone().unwrap_or_default(),
            live_url: Some(live_url(self.address, id)),
            failure_url: self.failure_url(id),
            dialog: None,
        });
    }

    /// Publishes an event, which gets its number here.
    pub(super) fn tell(&self, event: Event) {
        let (session_id, state) = (event.session_id.unwrap_or_default(), event.state);
        let state = state.map(tracing::field::display);
        tracing::info!(%session_id, kind = event.kind.as_str(), state, "{}", event.message);
        let mut past = self.past();
        past.last += 1;
        let event = Arc::new(Event { id: past.last, ..event });
        if past.kept.len() >= MAX_KEPT {
            past.kept.pop_front();
        }
        past.kept.push_back(Arc::clone(&event));
        let attention = past.attention(&event);
        // Without a listener, sending fails, which is harmless.
        drop(self.sender.send(Arc::clone(&event)));
        drop(past);
        if let Some(kind) = attention {
            let live_url = event.session_id.map(|id| live_url(self.address, id));
            let is_over = kind == EventKind::AttentionEnded;
            let failure_url = event.session_id.filter(|_| !is_over).and_then(|id| self.failure_url(id));
            let reason = kind.as_str().to_owned();
            self.tell(Event { kind, reason, live_url, failure_url, ..Event::clone(&event) });
        }
    }
}

impl Past {
    /// Returns whether a session's need of a person has begun or ended with this event.
    fn attention(&mut self, event: &Event) -> Option<EventKind> {
        let (session, state) = event.session_id.zip(event.state)?;
        let has_changed = match state {
            SessionState::NeedsAttention => self.in_need.insert(session),
            _ => self.in_need.remove(&session),
        };
        let is_in_need = state == SessionState::NeedsAttention;
        has_changed.then_some(if is_in_need { EventKind::NeedsAttention } else { EventKind::AttentionEnded })
    }
}

/// Returns the event of an answered dialog. Its message is logged, so it does not contain the dialog's text, which
/// can be anything.
pub(super) fn of_dialog(session: &Session, dialog: AnsweredDialog, time: Timestamp) -> Event {
    let AnsweredDialog { kind, text, answer, by } = dialog;
    let done = if answer.accepts() { "accepted" } else { "dismissed" };
    let (reason, why, rule) = match by {
        AnsweredBy::Rule(rule) => ("site_rule", "as configured for its site", Some(rule)),
        AnsweredBy::Step => ("step", "by a step of the flow", None),
        AnsweredBy::KeepsSession => ("keeps_session", "which keeps the session signed in", None),
        AnsweredBy::Harmless => ("default", "the default answer", None),
        AnsweredBy::Person => ("person", "by the person in its window", None),
    };
    Event {
        id: 0,
        time,
        session_id: Some(Uuid::from_u128(session.id.0)),
        name: session.name.clone(),
        kind: EventKind::DialogAnswered,
        state: Some(state(session.state())),
        reason: reason.to_owned(),
        message: format!("a dialog of its page ({kind}) was {done}, {why}"),
        live_url: None,
        failure_url: None,
        dialog: Some(pilotlight_api::AnsweredDialog { kind, text, answer, rule }),
    }
}

/// Returns the address at which a person can see a session's window and act in it.
pub(super) fn live_url(address: SocketAddr, session: Uuid) -> String {
    format!("http://{address}/ui/sessions/{session}")
}
