//! Who gets a place, who waits for one, and who must go for them.
//!
//! A place is the right to a window. Newcomers and sessions that are to be woken stand in one queue.

use std::time::Duration;

use crate::action::{Action, Answer, EndedReason, NoticeKind, Refusal};
use crate::ids::{RequestId, SessionId};
use crate::limits::AtCapacity;
use crate::queue::{Newcomer, Queued};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::spec::{Difference, Spec};
use crate::time::Moment;

/// What a client that was refused for lack of a place is told to wait.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Whether somebody of this name is asked for, whoever it is.
fn same_name(name: Option<&String>, spec: &Spec) -> bool {
    name.is_some() && name == spec.name.as_ref()
}

fn same_identity(identity: Option<u64>, spec: &Spec) -> bool {
    identity.is_some() && identity == spec.identity
}

impl Rules {
    pub(crate) fn create(&mut self, request: RequestId, id: SessionId, spec: Spec, now: Moment) {
        if let Some((named, differs, wants_password)) = self.named_session(&spec) {
            return match differs.as_slice() {
                [] => self.join(request, named, now),
                [Difference::Password] if wants_password => self.renew(request, named, id, &spec, now),
                _ => self.answer(request, Err(Refusal::NameTaken { differs })),
            };
        }
        let equal = |session: &&Session| same_identity(session.identity, &spec);
        let equal = self.living().find(equal).map(|session| session.id);
        if let Some(equal) = equal {
            return self.join(request, equal, now);
        }
        if self.draining {
            return self.answer(request, Err(Refusal::Draining));
        }
        let max_waiting = self.limits.max_waiting;
        let named = |newcomer: &Newcomer| same_name(newcomer.spec.name.as_ref(), &spec);
        let equal = |newcomer: &Newcomer| same_identity(newcomer.spec.identity, &spec);
        let newcomers = || self.queue.iter().filter_map(Queued::newcomer);
        let id_of_equal =
            newcomers().find(|other| named(other)).or_else(|| newcomers().find(|other| equal(other)));
        if let Some(other) = id_of_equal.filter(|other| named(other)) {
            let differs = spec.whose.differs_from(&other.spec.whose);
            if !differs.is_empty() {
                return self.answer(request, Err(Refusal::NameTaken { differs }));
            }
        }
        let id_of_equal = id_of_equal.map(|other| other.id);
        let mut newcomers = self.queue.iter_mut().filter_map(Queued::newcomer_mut);
        if let Some(newcomer) = newcomers.find(|other| Some(other.id) == id_of_equal) {
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

    /// The living session of the name that is asked for, in what it is another one, and whether its password was
    /// refused.
    fn named_session(&self, spec: &Spec) -> Option<(SessionId, Vec<Difference>, bool)> {
        let session = self.living().find(|session| same_name(session.name.as_ref(), spec))?;
        Some((session.id, spec.whose.differs_from(&session.whose), session.wants_password()))
    }

    /// A session whose password was refused gets another one, and is signed in with it once.
    fn renew(&mut self, request: RequestId, id: SessionId, from: SessionId, spec: &Spec, now: Moment) {
        let Some(session) = self.ask(request, id, now) else { return };
        (session.access, session.identity, session.whose) = (spec.access, spec.identity, spec.whose);
        session.refresh_first();
        self.act(Action::Renew { session: id, from });
        self.touch(id);
    }

    /// Answers with a session that is there, once it stands.
    fn join(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let max_waiting = self.limits.max_waiting;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.last_used = now;
        self.touch(id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let waits = if !session.established {
            &mut session.create_requests
        } else if session.is_hibernating {
            &mut session.wake_requests
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
            session.is_hibernating
                && session.ended.is_none()
                && session.window == Window::None
                && session.is_wanted()
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
        session.is_hibernating = false;
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
                    let live = |session: &Session| {
                        session.unprotected() && !session.is_hibernating && !session.is_wanted()
                    };
                    self.least_recently_used(live)
                }
                AtCapacity::Hibernate => self.least_recently_used(|session| session.may_hibernate(now)),
            };
            let Some(victim) = victim else { return };
            if self.limits.at_capacity == AtCapacity::Terminate {
                self.end(victim, EndedReason::Evicted, None, now);
            } else {
                self.hibernate_window(
                    victim,
                    "somebody else needed its place and it was the least recently used",
                    now,
                );
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
