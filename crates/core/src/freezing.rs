//! Sessions whose window stands still: who is frozen, and who runs again because somebody needs the page.
//!
//! A window is frozen only after its state was written down, and nothing of ours and no client ever meets a
//! frozen page: whoever needs it waits until it runs.

use crate::action::{Action, Answer, Refusal};
use crate::ids::{RequestId, SessionId, ShardId, Ticket};
use crate::input::Failure;
use crate::limits::Limits;
use crate::rules::Rules;
use crate::session::{Doing, Session, Window};
use crate::time::Moment;

/// Whether the pages of an open window run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Motion {
    #[default]
    Running,
    /// They run, and are to freeze once their state is written down.
    Settling,
    Freezing(Ticket),
    Frozen,
    Thawing(Ticket),
}

impl Motion {
    /// Whether something may be done in the pages.
    pub(crate) fn runs(self) -> bool {
        matches!(self, Self::Running | Self::Settling)
    }
}

impl Session {
    /// Whether its window could stand still now without anybody missing it.
    pub(crate) fn can_freeze(&self, now: Moment) -> bool {
        let at_rest = match self.doing {
            Doing::Nothing => true,
            Doing::Next(_) => self.not_before > now,
            Doing::Running(_) => false,
        };
        let there = matches!(self.window, Window::Open(_)) && self.restored && !self.recovering;
        self.ended.is_none()
            && self.established
            && !self.asleep
            && there
            && at_rest
            && !self.in_use()
            && !self.is_wanted()
            && self.coolers.is_empty()
    }

    /// When it freezes if nobody uses it until then. Where a person is needed it is looked at again and again,
    /// and stays as it is.
    pub(crate) fn freezes_at(&self, limits: &Limits) -> Option<Moment> {
        let by_itself = self.freezes && self.attention.is_none() && self.motion.runs() && !self.asleep;
        let after = limits.freeze_after.filter(|_| by_itself)?;
        Some((self.last_used + after).max(self.freeze_not_before))
    }

    /// Whether its page must run for what comes next.
    fn needs_page(&self, now: Moment) -> bool {
        matches!(self.window, Window::Saving(..))
            || self.in_use()
            || self.is_wanted()
            || (matches!(self.doing, Doing::Next(_)) && self.not_before <= now)
    }

    /// Whether it stands still, and has since its state was written down.
    pub(crate) fn is_frozen_as_written(&self) -> bool {
        let written = self.saves.written && self.saves.due.is_none() && self.saves.running.is_none();
        self.motion == Motion::Frozen && written
    }
}

impl Rules {
    pub(crate) fn freeze(&mut self, request: RequestId, id: SessionId) {
        let max_waiting = self.limits.max_waiting;
        let Some(session) = self.living_mut(request, id) else { return };
        match session.refusal(session.freezers.len(), max_waiting) {
            Some(refusal) => self.answer(request, Err(refusal)),
            None => session.freezers.push(request),
        }
    }

    /// Freezes what rests, and has what is needed run again.
    pub(crate) fn settle_freezing(&mut self, now: Moment) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if session.is_wanted() {
                self.tell_freezers(id, &Err(Refusal::InUse));
            } else if session.asleep || session.motion == Motion::Frozen {
                // One that hibernates is colder still.
                self.tell_freezers(id, &Ok(Answer::Session { session: id, is_new: false }));
            }
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let idle = session.freezes_at(&self.limits).is_some_and(|at| at <= now);
            let rests = (idle || session.pressed || !session.freezers.is_empty()) && session.can_freeze(now);
            match session.motion {
                Motion::Frozen if session.needs_page(now) => self.thaw(id),
                Motion::Running if rests => self.settle_down(id, now),
                Motion::Settling if rests => self.freeze_settled(id, now),
                Motion::Settling => {
                    session.motion = Motion::Running;
                    session.pressed = false;
                }
                Motion::Running | Motion::Freezing(_) | Motion::Frozen | Motion::Thawing(_) => {}
            }
        }
    }

    /// Has the state written down, where there is anything new.
    pub(crate) fn settle_down(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.motion = Motion::Settling;
        let is_new = session.saves.due.is_some() || !session.saves.written;
        session.saves.due = is_new.then_some(session.saves.due.map_or(now, |due| due.min(now)));
        self.freeze_settled(id, now);
    }

    fn freeze_settled(&mut self, id: SessionId, now: Moment) {
        let ticket = self.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // A page that changes all the time is not waited for: what was due when it came to rest is.
        if session.saves.running.is_some() || session.saves.due.is_some_and(|due| due <= now) {
            return;
        }
        session.motion = Motion::Freezing(ticket);
        let why = if !session.freezers.is_empty() {
            "a client asked for it"
        } else if session.pressed {
            "memory is short and it was the least recently used"
        } else {
            "nobody used it for a while"
        };
        why.clone_into(&mut session.why);
        self.act(Action::Freeze { session: id, ticket });
    }

    /// Whether a browser has windows, and all of them stand still.
    #[must_use]
    pub fn is_cold(&self, shard: ShardId) -> bool {
        let windows = self.shards.all.get(&shard).map(|shard| &shard.windows);
        let is_still = |id| self.sessions.get(id).is_some_and(|session| session.motion == Motion::Frozen);
        windows.is_some_and(|windows| !windows.is_empty() && windows.iter().all(is_still))
    }

    fn thaw(&mut self, id: SessionId) {
        let ticket = self.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.motion = Motion::Thawing(ticket);
        let why = if session.is_wanted() { "somebody wants it" } else { "something is to be done in it" };
        why.clone_into(&mut session.why);
        self.act(Action::Thaw { session: id, ticket });
        self.touch(id);
    }

    /// A window stands still, or does not.
    pub(crate) fn frozen(&mut self, id: SessionId, ticket: Ticket, result: Result<(), Failure>, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.motion != Motion::Freezing(ticket) {
            return;
        }
        match result {
            Ok(()) => {
                session.motion = Motion::Frozen;
                session.pressed = false;
                session.still_since = now;
            }
            Err(failure) => self.stay_awake(id, failure, now),
        }
        self.touch(id);
    }

    /// A window runs again. Where it does not, whoever needs it finds out, and so does its heartbeat.
    pub(crate) fn thawed(&mut self, id: SessionId, ticket: Ticket, now: Moment) {
        let settled_at = now + self.limits.freeze_settle;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.motion == Motion::Thawing(ticket) {
            session.motion = Motion::Running;
            session.freeze_not_before = settled_at;
            self.touch(id);
        }
    }

    /// It was to freeze and cannot.
    pub(crate) fn stay_awake(&mut self, id: SessionId, failure: Failure, now: Moment) {
        let retry_at = now + self.limits.save_retry;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if matches!(session.motion, Motion::Settling | Motion::Freezing(_)) {
            session.motion = Motion::Running;
            session.pressed = false;
            session.freeze_not_before = retry_at;
            session.unfreezable_until = retry_at;
            self.tell_freezers(id, &Err(Refusal::Failed(failure)));
        }
    }

    fn tell_freezers(&mut self, id: SessionId, answer: &Result<Answer, Refusal>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for request in std::mem::take(&mut session.freezers) {
            self.answer(request, answer.clone());
        }
    }
}
