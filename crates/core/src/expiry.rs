//! What expires: holds, requests that waited too long, idle sessions, and ended sessions.

use crate::action::{Action, EndedReason, NoticeKind, Refusal};
use crate::capacity::RETRY_AFTER;
use crate::ids::SessionId;
use crate::queue::Queued;
use crate::rules::Rules;
use crate::session::{Session, Waiting, Window};
use crate::session_mut::SessionMut;
use crate::time::Moment;

impl Session {
    /// Returns whether it may expire or be evicted: it was ready once, and is neither used nor about to be.
    pub(crate) fn unprotected(&self) -> bool {
        self.ended.is_none()
            && self.established
            && !self.policy.never_terminate
            && !self.in_use()
            && !self.is_wanted()
    }
}

impl Rules {
    /// Removes what has expired in a session, and ends the session if it has.
    pub(crate) fn expire_session(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        if let Some((ended_at, _)) = session.ended {
            if session.window == Window::None && now >= ended_at + self.limits.remember_ended {
                self.sessions.remove(id);
                self.effects.act(Action::Forget { session: id });
            }
            return;
        }
        if let Some(mut session) = self.session_mut(id) {
            session.expire_holds();
            session.expire_waiting();
            if session.unprotected() && session.expires_at().is_some_and(|at| now >= at) {
                session.end(EndedReason::IdleTimeout, None);
            }
        }
    }

    /// Refuses requests that waited too long for a place.
    pub(crate) fn expire_queue(&mut self, now: Moment) {
        let refusal = Refusal::AtCapacity { retry_after: RETRY_AFTER };
        for queued in self.queue.take_late(now) {
            match queued {
                Queued::Newcomer(newcomer) => {
                    for request in newcomer.requests {
                        self.effects.answer(request, Err(refusal.clone()));
                    }
                }
                Queued::Sleeper { id, .. } => {
                    if let Some(mut session) = self.session_mut(id) {
                        session.refuse_wanted(&refusal);
                    }
                }
            }
        }
    }
}

impl SessionMut<'_> {
    fn expire_holds(&mut self) {
        let (before, now) = (self.holds.len(), self.now);
        self.holds.retain(|hold| hold.expires_at > now);
        if self.holds.len() < before {
            self.last_used = now;
            self.announce(NoticeKind::HoldExpired, "its hold expired");
            self.save_by(now);
        }
    }

    fn expire_waiting(&mut self) {
        let (late, waiting): (Vec<Waiting>, Vec<Waiting>) =
            self.waiting.iter().partition(|waiting| self.now >= waiting.deadline);
        self.waiting = waiting;
        for Waiting { request, .. } in late {
            self.effects.answer(request, Err(Refusal::NotReady { retry_after: RETRY_AFTER }));
        }
    }
}
