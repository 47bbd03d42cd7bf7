//! Putting everything to rest, for good: all sessions hibernate, and nothing new begins.

use std::time::Duration;

use crate::action::{Answer, Refusal};
use crate::capacity::RETRY_AFTER;
use crate::ids::{RequestId, SessionId};
use crate::index::Set;
use crate::queue::{DrainWaiter, Queued};
use crate::rules::Rules;
use crate::session::{CloseReason, Session, Window};
use crate::time::Moment;

impl Rules {
    pub(crate) fn drain(&mut self, request: RequestId, timeout: Duration, now: Moment) {
        self.draining = true;
        self.sessions.examine_all();
        self.drain_waiters.push(DrainWaiter { request, deadline: now + timeout });
        for queued in self.queue.take_all() {
            if let Queued::Newcomer(newcomer) = queued {
                for request in newcomer.requests {
                    self.answer(request, Err(Refusal::Draining));
                }
            }
        }
    }

    /// Whoever wants a cold session while everything is put to rest does not get it.
    pub(crate) fn refuse_while_draining(&mut self, id: SessionId) {
        let is_without_window = |session: &Session| {
            let moves_out = matches!(session.window, Window::Saving(_, CloseReason::MoveOut));
            session.is_hibernating || session.is_coming_back() || moves_out
        };
        if self.draining && self.sessions.get(&id).is_some_and(is_without_window) {
            self.refuse_wanted(id, &Refusal::Draining);
        }
    }

    pub(crate) fn answer_drain_waiters(&mut self, now: Moment) {
        if self.drain_waiters.is_empty() {
            return;
        }
        let at_rest = self.sessions.fresh().count(Set::WithWindow) == 0;
        for drainer in std::mem::take(&mut self.drain_waiters) {
            if at_rest {
                self.answer(drainer.request, Ok(Answer::Done));
            } else if now >= drainer.deadline {
                self.answer(drainer.request, Err(Refusal::NotReady { retry_after: RETRY_AFTER }));
            } else {
                self.drain_waiters.push(drainer);
            }
        }
    }
}
