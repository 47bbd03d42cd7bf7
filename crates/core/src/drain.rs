//! Draining: all sessions hibernate, and nothing new begins.

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
                    self.effects.answer(request, Err(Refusal::Draining));
                }
            }
        }
    }

    pub(crate) fn answer_drain_waiters(&mut self, now: Moment) {
        if self.drain_waiters.is_empty() {
            return;
        }
        let at_rest = self.sessions.fresh().count(Set::WithWindow) == 0;
        for drainer in std::mem::take(&mut self.drain_waiters) {
            if at_rest {
                self.effects.answer(drainer.request, Ok(Answer::Done));
            } else if now >= drainer.deadline {
                self.effects.answer(drainer.request, Err(Refusal::NotReady { retry_after: RETRY_AFTER }));
            } else {
                self.drain_waiters.push(drainer);
            }
        }
    }

    /// Refuses requests for hibernated sessions during a drain.
    pub(crate) fn refuse_while_draining(&mut self, id: SessionId) {
        let is_refused = |session: &Session| {
            let moves_out = matches!(session.window, Window::Saving(_, CloseReason::MoveOut));
            session.is_wanted() && (session.is_hibernating() || session.is_coming_back() || moves_out)
        };
        if let Some(mut session) = self.session_if(id, is_refused) {
            session.refuse_wanted(&Refusal::Draining);
        }
    }
}
