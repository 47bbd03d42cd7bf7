//! What happens by the passing of time: holds that run out, requests that waited too long, idle sessions, sessions that ended
//! long ago, and the periodic check for refreshes. And when the next of it is due.

use crate::action::{Action, EndedReason, NoticeKind, Refusal};
use crate::capacity::RETRY_AFTER;
use crate::ids::SessionId;
use crate::queue::Queued;
use crate::rules::Rules;
use crate::session::{ActivityState, Session, Waiting, Window};
use crate::time::Moment;

impl Rules {
    /// Returns when the rules have to be stepped although nothing happens; `None` is never.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let sessions = self.sessions.values().filter_map(|session| self.session_deadline(session, now)).min();
        let queue = self.queue.iter().map(Queued::deadline).min();
        let drain = self.drain_waiters.iter().map(|drainer| drainer.deadline).min();
        let linger = self.shards.next_linger_end(self.limits.shard_linger);
        let look = self.sessions.values().any(|session| session.ended.is_none()).then_some(self.next_check);
        let aging = self.shards.next_aging(self.limits.browser_max_age).filter(|at| *at > now);
        [sessions, queue, drain, linger, aging, look].into_iter().flatten().min()
    }

    fn session_deadline(&self, session: &Session, now: Moment) -> Option<Moment> {
        if let Some((ended_at, _)) = session.ended {
            let gone = session.window == Window::None;
            return gone.then(|| ended_at + self.limits.remember_ended);
        }
        let holds = session.holds.iter().map(|hold| hold.expires_at).min();
        let waiting = session.waiting.iter().map(|waiting| waiting.deadline).min();
        let idle = session.expires_at().filter(|_| session.unprotected());
        let without_window = session.window == Window::None && !session.is_hibernating;
        let wants = without_window || matches!(session.activity, ActivityState::Next(_));
        let retry = (wants && session.not_before > now).then_some(session.not_before);
        let browser = self.shards.not_before(session.launch);
        let browser = (without_window && browser > now).then_some(browser);
        let save = session.save_due().filter(|at| *at > now);
        let cool = [session.hibernates_at(self.limits.hibernate_after), Some(session.hibernate_not_before)];
        let cool = cool.into_iter().flatten().filter(|at| *at > now && !session.is_hibernating).min();
        let freeze = session.freezes_at(&self.limits).filter(|at| *at > now);
        let moving = self.move_deadline(session).filter(|at| *at > now);
        let moving_out = session.waits_to_move_out_until().filter(|at| *at > now);
        [holds, waiting, idle, retry, browser, save, freeze, cool, moving, moving_out]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due by now.
    pub(crate) fn run_timers(&mut self, now: Moment) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.expire_session(id, now);
        }
        self.expire_queue(now);
        if now >= self.next_check {
            self.schedule_refreshes(now);
        }
    }

    fn expire_session(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some((ended_at, _)) = session.ended {
            if session.window == Window::None && now >= ended_at + self.limits.remember_ended {
                self.sessions.remove(&id);
                self.act(Action::Forget { session: id });
            }
            return;
        }
        let before = session.holds.len();
        session.holds.retain(|hold| hold.expires_at > now);
        if session.holds.len() < before {
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
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (late, waiting): (Vec<Waiting>, Vec<Waiting>) =
            session.waiting.iter().partition(|waiting| now >= waiting.deadline);
        session.waiting = waiting;
        for Waiting { request, .. } in late {
            self.answer(request, Err(Refusal::NotReady { retry_after: RETRY_AFTER }));
        }
    }
}
