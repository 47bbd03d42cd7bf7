//! Who gets a place, who waits for one, and who must go for them.
//!
//! A place is the right to a window. Newcomers and sessions that are to be woken stand in one queue.

use std::time::Duration;

use crate::action::{Answer, EndedReason, NoticeKind, Refusal};
use crate::ids::{RequestId, SessionId};
use crate::input::Spec;
use crate::limits::AtCapacity;
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::time::Moment;

/// What a client that was refused for lack of a place is told to wait.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Somebody who has no place yet.
#[derive(Debug, Clone)]
pub(crate) enum Queued {
    Newcomer(Box<Newcomer>),
    /// A cold session that somebody wants.
    Sleeper {
        id: SessionId,
        deadline: Moment,
    },
}

/// Somebody who asked for a session that is not there yet.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) id: SessionId,
    pub(crate) spec: Spec,
    /// Equal requests share one place.
    pub(crate) requests: Vec<RequestId>,
    pub(crate) deadline: Moment,
}

impl Queued {
    pub(crate) fn deadline(&self) -> Moment {
        match self {
            Self::Newcomer(newcomer) => newcomer.deadline,
            Self::Sleeper { deadline, .. } => *deadline,
        }
    }

    /// Whether it is a newcomer that asked for this name.
    pub(crate) fn is_named(&self, name: Option<&String>) -> bool {
        matches!(self, Self::Newcomer(newcomer) if newcomer.spec.name.as_ref() == name)
    }

    fn newcomer_mut(&mut self) -> Option<&mut Newcomer> {
        match self {
            Self::Newcomer(newcomer) => Some(newcomer),
            Self::Sleeper { .. } => None,
        }
    }
}

fn same(name: Option<&String>, identity: Option<u64>, spec: &Spec) -> bool {
    (name.is_some() && name == spec.name.as_ref()) || (identity.is_some() && identity == spec.identity)
}

impl Rules {
    pub(crate) fn create(&mut self, request: RequestId, id: SessionId, spec: Spec, now: Moment) {
        if let Some(id) = self.equal_session(&spec) {
            return self.join(request, id, now);
        }
        if self.draining {
            return self.answer(request, Err(Refusal::Draining));
        }
        let max_waiting = self.limits.max_waiting;
        let mut newcomers = self.queue.iter_mut().filter_map(Queued::newcomer_mut);
        let equal =
            |newcomer: &&mut Newcomer| same(newcomer.spec.name.as_ref(), newcomer.spec.identity, &spec);
        if let Some(newcomer) = newcomers.find(equal) {
            if newcomer.requests.len() >= max_waiting {
                return self.answer(request, Err(Refusal::TooMany));
            }
            return newcomer.requests.push(request);
        }
        if self.queue.len() >= self.limits.max_queue {
            return self.answer(request, Err(Refusal::AtCapacity { retry_after: RETRY_AFTER }));
        }
        let deadline = now + self.limits.queue_timeout;
        let newcomer = Newcomer { id, spec, requests: vec![request], deadline };
        self.queue.push_back(Queued::Newcomer(Box::new(newcomer)));
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
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let waits = if !session.established {
            &mut session.creators
        } else if session.asleep {
            &mut session.wakers
        } else {
            return self.answer(request, Ok(Answer::Session { session: id, is_new: false }));
        };
        if waits.len() >= max_waiting {
            return self.answer(request, Err(Refusal::TooMany));
        }
        waits.push(request);
    }

    pub(crate) fn expire_queue(&mut self, now: Moment) {
        let (late, queue): (Vec<Queued>, Vec<Queued>) =
            self.queue.drain(..).partition(|queued| now >= queued.deadline());
        self.queue = queue.into();
        let refusal = Refusal::AtCapacity { retry_after: RETRY_AFTER };
        for queued in late {
            match queued {
                Queued::Newcomer(newcomer) => {
                    for request in newcomer.requests {
                        self.answer(request, Err(refusal.clone()));
                    }
                }
                Queued::Sleeper { id, .. } => self.refuse_wanted(id, &refusal),
            }
        }
    }

    /// Cold sessions that somebody wants get in line; those whom nobody wants any more leave it.
    pub(crate) fn queue_sleepers(&mut self, now: Moment) {
        let wanted = |session: &Session| {
            session.asleep && session.ended.is_none() && session.window == Window::None && session.is_wanted()
        };
        let sessions = &self.sessions;
        self.queue.retain(|queued| match queued {
            Queued::Newcomer(_) => true,
            Queued::Sleeper { id, .. } => sessions.get(id).is_some_and(wanted),
        });
        let deadline = now + self.limits.queue_timeout;
        for session in self.sessions.values().filter(|session| wanted(session)) {
            let queued =
                self.queue.iter().any(|q| matches!(q, Queued::Sleeper { id, .. } if *id == session.id));
            if !queued {
                self.queue.push_back(Queued::Sleeper { id: session.id, deadline });
            }
        }
    }

    /// Lets in whoever waits while there are places, and makes places where the configuration says how.
    pub(crate) fn admit(&mut self, now: Moment) {
        self.queue_sleepers(now);
        while self.occupied() < self.limits.max_live && self.has_memory() {
            let room = self.living().count() < self.limits.max_sessions;
            let may_enter = |queued: &Queued| room || matches!(queued, Queued::Sleeper { .. });
            let Some(next) = self.queue.iter().position(may_enter) else { break };
            match self.queue.remove(next) {
                Some(Queued::Newcomer(newcomer)) => self.let_in(*newcomer, now),
                Some(Queued::Sleeper { id, .. }) => self.wake_up(id, now),
                None => break,
            }
        }
        self.make_room(now);
    }

    fn let_in(&mut self, newcomer: Newcomer, now: Moment) {
        let session = Session::new(newcomer.id, newcomer.spec, newcomer.requests, now);
        self.sessions.insert(newcomer.id, session);
        self.touch(newcomer.id);
    }

    fn wake_up(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.asleep = false;
        session.recovering = true;
        session.attention = None;
        session.failures = 0;
        session.not_before = now;
        session.last_used = now;
        self.announce(id, NoticeKind::Waking, "somebody wants it");
    }

    fn make_room(&mut self, now: Moment) {
        if self.limits.at_capacity == AtCapacity::Terminate {
            let newcomers = self.queue.iter().filter(|q| matches!(q, Queued::Newcomer(_))).count();
            let surplus = (self.living().count() + newcomers).saturating_sub(self.limits.max_sessions);
            for _ in 0..surplus.min(newcomers) {
                let Some(victim) = self.least_recently_used(Session::unprotected) else { break };
                self.end(victim, EndedReason::Evicted, None, now);
            }
        }
        // A machine that was made smaller has too many windows from the start.
        while self.wanted_places() + self.occupied() > self.limits.max_live + self.coming_places() {
            let victim = match self.limits.at_capacity {
                AtCapacity::Reject => return,
                AtCapacity::Terminate => {
                    let live =
                        |session: &Session| session.unprotected() && !session.asleep && !session.is_wanted();
                    self.least_recently_used(live)
                }
                AtCapacity::Hibernate => self.least_recently_used(|session| session.may_be_cooled(now)),
            };
            let Some(victim) = victim else { return };
            if self.limits.at_capacity == AtCapacity::Terminate {
                self.end(victim, EndedReason::Evicted, None, now);
            } else {
                self.cool(victim, "somebody else needed its place and it was the least recently used", now);
            }
            // One without a window leaves its place at once.
            if self.occupied() < self.limits.max_live && !self.queue.is_empty() {
                return self.admit(now);
            }
        }
    }

    /// Those in the queue who could come in if there were places.
    pub(crate) fn wanted_places(&self) -> usize {
        let room = self.limits.max_sessions.saturating_sub(self.living().count());
        let newcomers = self.queue.iter().filter(|q| matches!(q, Queued::Newcomer(_))).count();
        newcomers.min(room) + (self.queue.len() - newcomers)
    }

    /// Windows that exist, and those that sessions are entitled to.
    pub(crate) fn occupied(&self) -> usize {
        self.sessions.values().filter(|session| session.occupies()).count()
    }

    /// Places of sessions whose windows are just closing.
    fn coming_places(&self) -> usize {
        self.sessions.values().filter(|session| session.is_leaving()).count()
    }

    pub(crate) fn least_recently_used(&self, may_go: impl Fn(&Session) -> bool) -> Option<SessionId> {
        let candidates = self.living().filter(|session| may_go(session));
        candidates.min_by_key(|session| (session.last_used, session.id)).map(|session| session.id)
    }
}
