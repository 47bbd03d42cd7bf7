//! What changes only because time passes: when, and what is done then.

use crate::contents::ActivityState;
use crate::ids::SessionId;
use crate::index::{Context, Order, Set};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::time::Moment;

impl Session {
    /// Returns when it next changes only because time passes, as far as that depends on it and the context.
    pub(crate) fn deadline(&self, context: &Context) -> Option<Moment> {
        let now = context.now;
        if let Some((ended_at, _)) = self.ended {
            let gone = self.window == Window::None;
            return gone.then(|| ended_at + context.remember_ended);
        }
        let holds = self.holds.iter().map(|hold| hold.expires_at).min();
        let waiting = self.waiting.iter().map(|waiting| waiting.deadline).min();
        let idle = self.expires_at().filter(|_| self.unprotected());
        let without_window = self.window == Window::None && !self.is_hibernating();
        let wants = without_window || matches!(self.contents.activity, ActivityState::Next(_));
        let retry = (wants && self.not_before > now).then_some(self.not_before);
        let cool = [self.hibernates_at(context.hibernate_after), Some(self.hibernate_not_before)];
        let may_go = !self.is_hibernating() || self.has_refresh_window();
        let cool = cool.into_iter().flatten().filter(|at| *at > now && may_go).min();
        let freeze = self.freezes_at(context.freeze_after).filter(|at| *at > now);
        let refresh_window = self.refresh_window_until().filter(|at| *at > now);
        let newcomers = self.waiting.iter().filter_map(|waiting| self.comes_after_move_out(waiting));
        let moving_out = self.waits_to_move_out_until().into_iter().chain(newcomers);
        let moving_out = moving_out.filter(|at| *at > now).min();
        [holds, waiting, idle, retry, freeze, cool, moving_out, refresh_window].into_iter().flatten().min()
    }
}

impl Rules {
    /// Returns when the rules must be stepped although nothing happens; `None` is never.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let index = self.sessions.index();
        let session = index.order(Order::Due).next().map(|(at, _)| at);
        // What was due in the last step and has not begun waits for another one to end.
        let limited = [Order::Save, Order::AsleepRefresh, Order::BesideRefresh];
        let next = |order| index.next_after(order, self.sessions.context().now);
        let limited = limited.into_iter().filter_map(next).min();
        let queue = self.queue.next_deadline();
        let drain = self.drain_waiters.iter().map(|drainer| drainer.deadline).min();
        let linger = self.shards.next_linger_end(self.limits.shard_linger);
        let look = (index.count(Set::Living) > 0).then_some(self.next_check);
        let aging = self.shards.next_aging(self.limits.browser_max_age).filter(|at| *at > now);
        let moving = self.next_move(now);
        [session, limited, queue, drain, linger, aging, look, moving, self.next_start(now)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns when the next browser may be started for which a session waits.
    fn next_start(&self, now: Moment) -> Option<Moment> {
        let sessions = self.sessions.index().without_window().filter_map(|id| self.sessions.get(&id));
        let waiting = sessions.filter(|session| session.window == Window::None);
        waiting.map(|session| self.shards.not_before(session.launch)).filter(|at| *at > now).min()
    }

    /// Does what is due: for the `due` sessions, those in the queue, and the refreshes.
    pub(crate) fn run_timers(&mut self, due: &[SessionId], now: Moment) {
        for id in due {
            self.expire_session(*id, now);
        }
        self.expire_queue(now);
        if now >= self.next_check {
            self.schedule_refreshes(now);
        }
    }
}
