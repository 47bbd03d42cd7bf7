//! Sessions whose window stands still: who is frozen, and who runs again because somebody needs the page.
//!
//! A window is frozen only after its state was written down, and nothing of ours and no client ever meets a
//! frozen page: whoever needs it waits until it runs.

use std::time::Duration;

use crate::action::{Action, Answer, Refusal};
use crate::activity::Failure;
use crate::ids::{RequestId, SessionId, ShardId, Ticket};
use crate::rules::Rules;
use crate::session::{ActivityState, FreezeState, Session, Window};
use crate::time::Moment;

impl Session {
    /// Whether its window could stand still now without anybody missing it.
    pub(crate) fn can_freeze(&self, now: Moment) -> bool {
        let is_about_to_begin = matches!(self.activity, ActivityState::Next(_)) && self.not_before <= now;
        self.can_freeze_in_time() && !is_about_to_begin
    }

    /// The same, but for what is to begin in it.
    pub(crate) fn can_freeze_in_time(&self) -> bool {
        let at_rest = !matches!(self.activity, ActivityState::Running(_));
        let there = matches!(self.window, Window::Open(_)) && self.restored && !self.recovering;
        self.ended.is_none()
            && self.established
            && !self.is_hibernating
            && there
            && at_rest
            && !self.in_use()
            && !self.is_wanted()
            && self.hibernate_requests.is_empty()
    }

    /// When it freezes if nobody uses it until then. Where a person is needed it is looked at again and again,
    /// and stays as it is.
    pub(crate) fn freezes_at(&self, freeze_after: Option<Duration>) -> Option<Moment> {
        let by_itself =
            self.freezes && self.attention.is_none() && self.freeze_state.runs() && !self.is_hibernating;
        let after = freeze_after.filter(|_| by_itself)?;
        Some((self.last_used + after).max(self.freeze_not_before))
    }

    /// Whether its page must run for what comes next.
    fn needs_page(&self, now: Moment) -> bool {
        matches!(self.window, Window::Saving(..))
            || self.in_use()
            || self.is_wanted()
            || (matches!(self.activity, ActivityState::Next(_)) && self.not_before <= now)
    }

    /// Whether it stands still, and has since its state was written down.
    pub(crate) fn is_frozen_as_written(&self) -> bool {
        let written = self.saves.written && self.saves.due.is_none() && self.saves.running.is_none();
        self.freeze_state.is_frozen() && written
    }
}

impl Rules {
    pub(crate) fn freeze(&mut self, request: RequestId, id: SessionId) {
        let max_waiting = self.limits.max_waiting;
        let Some(session) = self.living_mut(request, id) else { return };
        match session.refusal(session.freeze_requests.len(), max_waiting) {
            Some(refusal) => self.answer(request, Err(refusal)),
            None => session.freeze_requests.push(request),
        }
    }

    /// Freezes what rests, and has what is needed run again.
    pub(crate) fn settle_freezing(&mut self, now: Moment) {
        for id in self.sessions.examined() {
            let Some(session) = self.sessions.get(&id) else { continue };
            if session.is_wanted() {
                self.answer_freeze_requests(id, &Err(Refusal::InUse));
            } else if session.is_hibernating || session.freeze_state.is_frozen() {
                // One that hibernates is colder still.
                self.answer_freeze_requests(id, &Ok(Answer::Session { session: id, is_new: false }));
            }
            let Some(session) = self.sessions.get(&id) else { continue };
            let idle = session.freezes_at(self.limits.freeze_after).is_some_and(|at| at <= now);
            let is_told = idle || !session.freeze_requests.is_empty();
            let can_freeze = session.can_freeze(now);
            match session.freeze_state {
                FreezeState::Frozen { .. } if session.needs_page(now) => self.thaw(id),
                FreezeState::Running if is_told && can_freeze => self.settle_down(id, false, now),
                FreezeState::SavingFirst { for_memory } if (is_told || for_memory) && can_freeze => {
                    self.freeze_settled(id, for_memory, now);
                }
                FreezeState::SavingFirst { .. } => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.freeze_state = FreezeState::Running;
                    }
                }
                FreezeState::Running
                | FreezeState::Freezing { .. }
                | FreezeState::Frozen { .. }
                | FreezeState::Thawing { .. } => {}
            }
        }
    }

    /// Has the state written down, where there is anything new.
    pub(crate) fn settle_down(&mut self, id: SessionId, for_memory: bool, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.freeze_state = FreezeState::SavingFirst { for_memory };
        let is_new = session.saves.due.is_some() || !session.saves.written;
        session.saves.due = is_new.then_some(session.saves.due.map_or(now, |due| due.min(now)));
        self.freeze_settled(id, for_memory, now);
    }

    fn freeze_settled(&mut self, id: SessionId, for_memory: bool, now: Moment) {
        // A page that changes all the time is not waited for: what was due when it came to rest is.
        let is_waited_for = |session: &Session| {
            session.saves.running.is_some() || session.saves.due.is_some_and(|due| due <= now)
        };
        if self.sessions.get(&id).is_none_or(is_waited_for) {
            return;
        }
        let ticket = self.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.freeze_state = FreezeState::Freezing { ticket };
        let why = if !session.freeze_requests.is_empty() {
            "a client asked for it"
        } else if for_memory {
            "memory is short and it was the least recently used"
        } else {
            "nobody used it for a while"
        };
        why.clone_into(&mut session.why);
        self.act(Action::Freeze { session: id, ticket });
    }

    /// Whether a browser has windows, and all of them stand still.
    #[must_use]
    pub fn all_windows_frozen(&self, shard: ShardId) -> bool {
        let windows = self.shards.get(shard).map(|shard| &shard.windows);
        let is_still = |id| self.sessions.get(id).is_some_and(|session| session.freeze_state.is_frozen());
        windows.is_some_and(|windows| !windows.is_empty() && windows.iter().all(is_still))
    }

    fn thaw(&mut self, id: SessionId) {
        let ticket = self.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.freeze_state = FreezeState::Thawing { ticket };
        let why = if session.is_wanted() { "somebody wants it" } else { "something is to be done in it" };
        why.clone_into(&mut session.why);
        self.act(Action::Thaw { session: id, ticket });
        self.touch(id);
    }

    /// A window stands still, or does not.
    pub(crate) fn frozen(&mut self, id: SessionId, ticket: Ticket, result: Result<(), Failure>, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.freeze_state != (FreezeState::Freezing { ticket }) {
            return;
        }
        match result {
            Ok(()) => {
                session.freeze_state = FreezeState::Frozen { since: now };
            }
            Err(failure) => self.stay_awake(id, failure, now),
        }
        self.touch(id);
    }

    /// A window runs again. Where it does not, whoever needs it finds out, and so does its heartbeat.
    pub(crate) fn thawed(&mut self, id: SessionId, ticket: Ticket, now: Moment) {
        let settled_at = now + self.limits.freeze_settle;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.freeze_state == (FreezeState::Thawing { ticket }) {
            session.freeze_state = FreezeState::Running;
            session.freeze_not_before = settled_at;
            self.touch(id);
        }
    }

    /// It was to freeze and cannot.
    pub(crate) fn stay_awake(&mut self, id: SessionId, failure: Failure, now: Moment) {
        let retry_at = now + self.limits.save_retry;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if matches!(session.freeze_state, FreezeState::SavingFirst { .. } | FreezeState::Freezing { .. }) {
            session.freeze_state = FreezeState::Running;
            session.freeze_not_before = retry_at;
            session.unfreezable_until = retry_at;
            self.answer_freeze_requests(id, &Err(Refusal::Failed(failure)));
        }
    }

    fn answer_freeze_requests(&mut self, id: SessionId, answer: &Result<Answer, Refusal>) {
        if self.sessions.get(&id).is_none_or(|session| session.freeze_requests.is_empty()) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for request in std::mem::take(&mut session.freeze_requests) {
            self.answer(request, answer.clone());
        }
    }
}
