//! What comes to an end by the passing of time: holds, requests that waited too long, idle sessions, and what is known of
//! sessions that ended.

use crate::action::{Action, EndedReason, NoticeKind, Refusal};
use crate::capacity::RETRY_AFTER;
use crate::ids::SessionId;
use crate::queue::Queued;
use crate::rules::Rules;
use crate::session::{Session, Waiting, Window};
use crate::time::Moment;

impl Rules {
    /// Ends what is over of a session, and the session itself.
    pub(crate) fn expire_session(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        if let Some((ended_at, _)) = session.ended {
            if session.window == Window::None && now >= ended_at + self.limits.remember_ended {
                self.sessions.remove(id);
                self.act(Action::Forget { session: id });
            }
            return;
        }
        if session.holds.iter().any(|hold| hold.expires_at <= now)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.holds.retain(|hold| hold.expires_at > now);
            session.last_used = now;
            self.announce(id, NoticeKind::HoldExpired, "its hold ran out");
            self.save_by(id, now);
        }
        self.expire_waiting(id, now);
        let idle = |session: &Session| {
            session.unprotected() && session.expires_at().is_some_and(|expires_at| now >= expires_at)
        };
        if self.sessions.get(&id).is_some_and(idle) {
            self.end(id, EndedReason::IdleTimeout, None, now);
        }
    }

    fn expire_waiting(&mut self, id: SessionId, now: Moment) {
        let is_late = |session: &Session| session.waiting.iter().any(|waiting| now >= waiting.deadline);
        if !self.sessions.get(&id).is_some_and(is_late) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (late, waiting): (Vec<Waiting>, Vec<Waiting>) =
            session.waiting.iter().partition(|waiting| now >= waiting.deadline);
        session.waiting = waiting;
        for Waiting { request, .. } in late {
            self.answer(request, Err(Refusal::NotReady { retry_after: RETRY_AFTER }));
        }
    }

    /// Refuses those who waited too long for a place.
    pub(crate) fn expire_queue(&mut self, now: Moment) {
        let refusal = Refusal::AtCapacity { retry_after: RETRY_AFTER };
        for queued in self.queue.take_late(now) {
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
}
