//! Places: which sessions get one, which wait, and which are closed for them.
//!
//! A place is the right to a window. New sessions and sessions that are to be woken wait in one queue.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::{Action, EndedReason, NoticeKind, Refusal};
use crate::ids::{RequestId, SessionId};
use crate::index::{Order, Set};
use crate::limits::AtCapacity;
use crate::queue::{Newcomer, Queued};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::session_mut::SessionMut;
use crate::spec::{Difference, Spec};
use crate::time::Moment;

/// `Retry-After` of a request that was refused for lack of a place.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Returns whether there is a living session or a waiting request of this name.
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
                [] => self.join(request, named),
                [Difference::Password] if wants_password => self.renew(request, named, id, &spec),
                _ => self.effects.answer(request, Err(Refusal::NameTaken { differs })),
            };
        }
        let equal = spec.identity.and_then(|identity| self.sessions.fresh().identical(identity).next());
        if let Some(equal) = equal {
            return self.join(request, equal);
        }
        if self.draining {
            return self.effects.answer(request, Err(Refusal::Draining));
        }
        let max_waiting = self.limits.max_waiting;
        let named = |newcomer: &Newcomer| same_name(newcomer.spec.name.as_ref(), &spec);
        let equal = |newcomer: &Newcomer| same_identity(newcomer.spec.identity, &spec);
        let newcomers = || self.queue.newcomers();
        let id_of_equal =
            newcomers().find(|other| named(other)).or_else(|| newcomers().find(|other| equal(other)));
        if let Some(other) = id_of_equal.filter(|other| named(other)) {
            let differs = spec.whose.differs_from(&other.spec.whose);
            if !differs.is_empty() {
                return self.effects.answer(request, Err(Refusal::NameTaken { differs }));
            }
        }
        let id_of_equal = id_of_equal.map(|other| other.id);
        if let Some(newcomer) = id_of_equal.and_then(|id| self.queue.newcomer_mut(id)) {
            if newcomer.requests.len() >= max_waiting {
                return self.effects.answer(request, Err(Refusal::TooMany));
            }
            return newcomer.requests.push(request);
        }
        if self.queue.len() >= self.limits.max_queue {
            return self.effects.answer(request, Err(Refusal::AtCapacity { retry_after: RETRY_AFTER }));
        }
        let deadline = now + self.limits.queue_timeout;
        let newcomer = Newcomer { id, spec, requests: vec![request], deadline };
        self.queue.push(Queued::Newcomer(Box::new(newcomer)));
    }

    /// Returns the living session of the requested name, how it differs from the request, and whether its password
    /// was rejected.
    fn named_session(&mut self, spec: &Spec) -> Option<(SessionId, Vec<Difference>, bool)> {
        let id = self.sessions.fresh().named(spec.name.as_ref()?).next()?;
        let session = self.sessions.get(&id)?;
        Some((session.id, spec.whose.differs_from(&session.whose), session.wants_password()))
    }

    /// A session whose password was rejected gets a new one, and tries to sign in with it once.
    fn renew(&mut self, request: RequestId, id: SessionId, from: SessionId, spec: &Spec) {
        let Some(mut session) = self.ask(request, id) else { return };
        (session.access, session.identity, session.whose) = (spec.access, spec.identity, spec.whose);
        session.refresh_first();
        session.effects.act(Action::Renew { session: id, from });
        session.touch();
    }

    /// Answers with an existing session, once it is ready.
    fn join(&mut self, request: RequestId, id: SessionId) {
        let Some(mut session) = self.session_mut(id) else { return };
        session.last_used = session.now;
        session.touch();
        if session.established && !session.is_hibernating() {
            return session.answer_with_it(request);
        }
        let SessionMut { session, effects, limits, .. } = session;
        let waits =
            if session.established { &mut session.wake_requests } else { &mut session.create_requests };
        if waits.len() >= limits.max_waiting {
            return effects.answer(request, Err(Refusal::TooMany));
        }
        waits.push(request);
    }

    /// Queues hibernated sessions that are needed, and removes those that no longer are.
    pub(crate) fn queue_sleepers(&mut self, now: Moment) {
        let wanted = |session: &Session| {
            session.is_hibernating()
                && session.ended.is_none()
                && (session.window == Window::None || session.has_refresh_window())
                && !session.loads_document()
                && session.is_wanted()
        };
        let deadline = now + self.limits.queue_timeout;
        let (mut come, mut gone) = (Vec::new(), BTreeSet::new());
        for id in self.sessions.examined() {
            match (self.sessions.get(&id).is_some_and(wanted), self.queue.has_sleeper(id)) {
                (true, false) => come.push(id),
                (false, true) => {
                    gone.insert(id);
                }
                (true, true) | (false, false) => {}
            }
        }
        if !gone.is_empty() {
            self.queue.remove_sleepers(&gone);
        }
        for id in come {
            self.queue.push(Queued::Sleeper { id, deadline });
        }
    }

    /// Admits waiting sessions while there are places, and makes places as configured.
    pub(crate) fn admit(&mut self, now: Moment) {
        self.queue_sleepers(now);
        while self.occupied() < self.limits.max_live && self.has_memory() {
            let is_full = self.living_count() >= self.limits.max_sessions;
            match self.queue.take_next(is_full) {
                Some(Queued::Newcomer(newcomer)) => self.admit_new(*newcomer, now),
                Some(Queued::Sleeper { id, .. }) => self.wake_up(id),
                None => break,
            }
        }
        self.make_room(now);
    }

    fn admit_new(&mut self, newcomer: Newcomer, now: Moment) {
        self.sessions.insert(Session::new(newcomer.id, newcomer.spec, newcomer.requests, now));
        self.effects.touch(newcomer.id);
    }

    fn wake_up(&mut self, id: SessionId) {
        let Some(mut session) = self.session_mut(id) else { return };
        session.failures = 0;
        session.not_before = session.now;
        session.last_used = session.now;
        session.wake_residence();
        session.attention = None;
        session.is_person_needed = false;
        session.announce(NoticeKind::Waking, "needed by a client");
    }

    fn make_room(&mut self, now: Moment) {
        if self.limits.at_capacity == AtCapacity::Terminate {
            let newcomers = self.queue.newcomer_count();
            let surplus = (self.living_count() + newcomers).saturating_sub(self.limits.max_sessions);
            for _ in 0..surplus.min(newcomers) {
                let Some(victim) = self.sessions.first(Order::Unprotected, |_| true) else { break };
                self.evict(victim);
            }
        }
        // If a limit was lowered, there are too many windows from the start.
        while self.wanted_places() + self.occupied() > self.limits.max_live + self.coming_places() {
            let victim = match self.limits.at_capacity {
                AtCapacity::Reject => return,
                AtCapacity::Terminate => self.sessions.first(Order::UnprotectedLive, |_| true),
                AtCapacity::Hibernate => {
                    self.sessions.first(Order::MayHibernate, |session| session.may_hibernate(now))
                }
            };
            let Some(victim) = victim else { return };
            if self.limits.at_capacity == AtCapacity::Terminate {
                self.evict(victim);
            } else if let Some(mut session) = self.session_mut(victim) {
                session.hibernate_window("least recently used when another session needed its place");
            }
            // A session without a window gives up its place immediately.
            if self.occupied() < self.limits.max_live && !self.queue.is_empty() {
                return self.admit(now);
            }
        }
    }

    fn evict(&mut self, id: SessionId) {
        if let Some(mut session) = self.session_mut(id) {
            session.end(EndedReason::Evicted, None);
        }
    }

    /// Returns how many of the queue could be admitted if there were places.
    pub(crate) fn wanted_places(&mut self) -> usize {
        let room = self.limits.max_sessions.saturating_sub(self.living_count());
        let newcomers = self.queue.newcomer_count();
        newcomers.min(room) + (self.queue.len() - newcomers)
    }

    /// Returns the number of windows that exist or that sessions are entitled to.
    pub(crate) fn occupied(&mut self) -> usize {
        self.sessions.fresh().count(Set::Occupying)
    }

    /// Returns the number of places whose windows are about to be closed.
    fn coming_places(&mut self) -> usize {
        self.sessions.fresh().count(Set::Leaving)
    }

    fn living_count(&mut self) -> usize {
        self.sessions.fresh().count(Set::Living)
    }
}
