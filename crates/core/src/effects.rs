//! The effects of a step, collected while it is decided.

use std::collections::BTreeSet;

use crate::action::{Action, Answer, Notice, NoticeKind, Refusal};
use crate::backoff::Jitter;
use crate::ids::{RequestId, SessionId, Ticket};
use crate::session::Session;

/// The actions of a step, and the sources of new tickets and random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Effects {
    actions: Vec<Action>,
    /// Sessions that changed and have to be published.
    unpublished: BTreeSet<SessionId>,
    last_ticket: u64,
    jitter: Jitter,
}

impl Effects {
    pub(crate) fn new(seed: u64) -> Self {
        Self { actions: Vec::new(), unpublished: BTreeSet::new(), last_ticket: 0, jitter: Jitter(seed) }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        self.act(Action::Answer { request, answer });
    }

    /// Has a session published at the end of the step.
    pub(crate) fn touch(&mut self, id: SessionId) {
        self.unpublished.insert(id);
    }

    /// Emits a notice that does not concern the session's state.
    pub(crate) fn announce_aside(&mut self, session: &Session, kind: NoticeKind, reason: &str) {
        self.touch(session.id);
        let notice = Notice { session: session.id, kind, state: session.state(), reason: reason.to_owned() };
        self.act(Action::Announce(notice));
    }

    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Returns a random number for the jitter of retries.
    pub(crate) fn random(&mut self) -> u64 {
        self.jitter.next()
    }

    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn take_unpublished(&mut self) -> BTreeSet<SessionId> {
        std::mem::take(&mut self.unpublished)
    }
}
