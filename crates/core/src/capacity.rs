//! Who gets in, who waits, and who must go for them.

use std::time::Duration;

use crate::action::{Answer, EndedReason, Refusal};
use crate::ids::{RequestId, SessionId};
use crate::input::Spec;
use crate::limits::AtCapacity;
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::time::Moment;

/// What a client that was refused for lack of a place is told to wait.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Somebody who asked for a session and has no place yet.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) id: SessionId,
    pub(crate) spec: Spec,
    /// Equal requests share one place.
    pub(crate) requests: Vec<RequestId>,
    pub(crate) deadline: Moment,
}

fn same(name: Option<&String>, identity: Option<u64>, spec: &Spec) -> bool {
    (name.is_some() && name == spec.name.as_ref()) || (identity.is_some() && identity == spec.identity)
}

impl Rules {
    pub(crate) fn create(&mut self, request: RequestId, id: SessionId, spec: Spec, now: Moment) {
        if let Some(id) = self.equal_session(&spec) {
            return self.join(request, id, now);
        }
        let max_waiting = self.limits.max_waiting;
        let equal =
            |newcomer: &&mut Newcomer| same(newcomer.spec.name.as_ref(), newcomer.spec.identity, &spec);
        if let Some(newcomer) = self.queue.iter_mut().find(equal) {
            if newcomer.requests.len() >= max_waiting {
                return self.answer(request, Err(Refusal::TooMany));
            }
            return newcomer.requests.push(request);
        }
        if self.queue.len() >= self.limits.max_queue {
            return self.answer(request, Err(Refusal::AtCapacity { retry_after: RETRY_AFTER }));
        }
        let deadline = now + self.limits.queue_timeout;
        self.queue.push_back(Newcomer { id, spec, requests: vec![request], deadline });
    }

    fn equal_session(&self, spec: &Spec) -> Option<SessionId> {
        let mut living = self.living();
        living.find(|session| same(session.name.as_ref(), session.identity, spec)).map(|session| session.id)
    }

    /// Answers with a session that is there, once it stands.
    fn join(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let max_waiting = self.limits.max_waiting;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.last_used = now;
        self.touch(id);
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.established) else {
            return self.answer(request, Ok(Answer::Session { session: id, is_new: false }));
        };
        if session.creators.len() >= max_waiting {
            return self.answer(request, Err(Refusal::TooMany));
        }
        session.creators.push(request);
    }

    pub(crate) fn expire_newcomers(&mut self, now: Moment) {
        let (late, queue): (Vec<Newcomer>, Vec<Newcomer>) =
            self.queue.drain(..).partition(|newcomer| now >= newcomer.deadline);
        self.queue = queue.into();
        for newcomer in late {
            for request in newcomer.requests {
                self.answer(request, Err(Refusal::AtCapacity { retry_after: RETRY_AFTER }));
            }
        }
    }

    /// Lets newcomers in while there are places, and makes places where the configuration says how.
    pub(crate) fn admit(&mut self, now: Moment) {
        while !self.queue.is_empty() && self.free_places() > 0 {
            let Some(newcomer) = self.queue.pop_front() else { return };
            let session = Session::new(newcomer.id, newcomer.spec, newcomer.requests, now);
            self.sessions.insert(newcomer.id, session);
            self.touch(newcomer.id);
        }
        if self.limits.at_capacity == AtCapacity::Reject {
            return;
        }
        while self.queue.len() > self.coming_places() {
            let Some(victim) = self.least_recently_used() else { return };
            self.end(victim, EndedReason::Evicted, None, now);
            if self.free_places() > 0 {
                return self.admit(now);
            }
        }
    }

    fn free_places(&self) -> usize {
        let occupied = self.sessions.values().filter(|session| session.occupies()).count();
        let living = self.living().count();
        let live = self.limits.max_live.saturating_sub(occupied);
        live.min(self.limits.max_sessions.saturating_sub(living))
    }

    /// Places of sessions that have ended and whose windows are just closing.
    fn coming_places(&self) -> usize {
        let closing = |session: &&Session| session.ended.is_some() && session.window != Window::None;
        self.sessions.values().filter(closing).count()
    }

    fn least_recently_used(&self) -> Option<SessionId> {
        let candidates = self.living().filter(|session| session.unprotected() && session.askers.is_empty());
        candidates.min_by_key(|session| (session.last_used, session.id)).map(|session| session.id)
    }
}
