//! Frozen windows: which are frozen, and which are thawed because their page is needed.
//!
//! A window is frozen only after its state was saved, and no activity and no client ever meets a frozen page: they
//! wait until it runs.

use std::time::Duration;

use crate::action::{Action, Answer, Refusal};
use crate::activity::Failure;
use crate::contents::{ActivityState, FreezeState};
use crate::ids::{RequestId, SessionId, ShardId, Ticket};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::session_mut::SessionMut;
use crate::time::Moment;

/// The next step on the way to a frozen window, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FreezeStep {
    /// It is to be frozen: its state is saved, if there is anything new.
    SettleDown,
    /// Its state is saved.
    Freeze {
        for_memory: bool,
    },
    /// It is in use meanwhile.
    StayAwake,
    Thaw,
}

impl Session {
    /// Returns whether its window could be frozen now without being missed.
    pub(crate) fn can_freeze(&self, now: Moment) -> bool {
        self.can_freeze_in_time() && !self.begins_in_page(now)
    }

    /// Returns whether an activity is to begin in its page. While a client uses it, most activities wait, and the
    /// session is refreshed beside the page.
    fn begins_in_page(&self, now: Moment) -> bool {
        let ActivityState::Next(activity) = self.contents.activity else { return false };
        self.not_before <= now && self.users_allow(activity)
    }

    /// Returns the same, without regard to the next activity.
    pub(crate) fn can_freeze_in_time(&self) -> bool {
        let at_rest = !self.is_worked_on();
        let there = matches!(self.window, Window::Open(_)) && self.contents.restored && !self.is_recovering();
        self.ended.is_none()
            && self.established
            && !self.is_hibernating()
            && there
            && at_rest
            && !self.is_used()
            && !self.is_wanted()
            && self.hibernate_requests.is_empty()
    }

    /// Returns when it is frozen if it is not used until then. If a person is needed its page is checked regularly,
    /// and is not frozen.
    pub(crate) fn freezes_at(&self, freeze_after: Option<Duration>) -> Option<Moment> {
        let by_itself = self.freezes
            && !self.waits_for_person()
            && self.contents.freeze_state.runs()
            && !self.is_hibernating();
        let after = freeze_after.filter(|_| by_itself)?;
        Some((self.last_used + after).max(self.freeze_not_before))
    }

    /// Returns whether its page must run for what comes next.
    fn needs_page(&self, now: Moment) -> bool {
        matches!(self.window, Window::Saving(..))
            || self.is_used()
            || self.is_wanted()
            || self.begins_in_page(now)
    }

    /// Returns the next step to freeze or thaw its window.
    fn freeze_step(&self, freeze_after: Option<Duration>, now: Moment) -> Option<FreezeStep> {
        let idle = self.freezes_at(freeze_after).is_some_and(|at| at <= now);
        let is_told = idle || !self.freeze_requests.is_empty();
        match self.contents.freeze_state {
            FreezeState::Frozen { .. } => self.needs_page(now).then_some(FreezeStep::Thaw),
            FreezeState::Running => (is_told && self.can_freeze(now)).then_some(FreezeStep::SettleDown),
            FreezeState::SavingFirst { for_memory } if (is_told || for_memory) && self.can_freeze(now) => {
                self.is_saved_to_freeze(now).then_some(FreezeStep::Freeze { for_memory })
            }
            FreezeState::SavingFirst { .. } => Some(FreezeStep::StayAwake),
            FreezeState::Freezing { .. } | FreezeState::Thawing { .. } => None,
        }
    }

    fn freezing_changes(&self, freeze_after: Option<Duration>, now: Moment) -> bool {
        let is_answered = self.is_wanted() || self.is_hibernating() || self.contents.freeze_state.is_frozen();
        (is_answered && !self.freeze_requests.is_empty()) || self.freeze_step(freeze_after, now).is_some()
    }

    /// Returns whether its state is saved, so that it may be frozen. A page that changes all the time is not waited
    /// for: the save that was due when it became idle is enough.
    fn is_saved_to_freeze(&self, now: Moment) -> bool {
        self.contents.saves.running.is_none() && self.contents.saves.due.is_none_or(|due| due > now)
    }

    /// Returns whether it is frozen, with no change since its state was saved.
    pub(crate) fn is_frozen_as_written(&self) -> bool {
        let written = self.contents.saves.written
            && self.contents.saves.due.is_none()
            && self.contents.saves.running.is_none();
        self.contents.freeze_state.is_frozen() && written
    }
}

impl Rules {
    pub(crate) fn freeze(&mut self, request: RequestId, id: SessionId) {
        let Some(mut session) = self.living_mut(request, id) else { return };
        match session.refusal(session.freeze_requests.len(), session.limits.max_waiting) {
            Some(refusal) => session.effects.answer(request, Err(refusal)),
            None => session.freeze_requests.push(request),
        }
    }

    /// Freezes idle windows, and thaws those that are needed.
    pub(crate) fn settle_freezing(&mut self, now: Moment) {
        for id in self.sessions.examined() {
            let freeze_after = self.limits.freeze_after;
            if let Some(mut session) =
                self.session_if(id, |session| session.freezing_changes(freeze_after, now))
            {
                session.settle_freezing();
            }
        }
    }

    /// Returns whether a browser has windows, and all of them are frozen.
    #[must_use]
    pub fn all_windows_frozen(&self, shard: ShardId) -> bool {
        let windows = self.shards.get(shard).map(|shard| &shard.windows);
        let is_still =
            |id| self.sessions.get(id).is_some_and(|session| session.contents.freeze_state.is_frozen());
        windows.is_some_and(|windows| !windows.is_empty() && windows.iter().all(is_still))
    }

    /// Handles the report that a window was frozen, or could not be.
    pub(crate) fn frozen(&mut self, id: SessionId, ticket: Ticket, result: Result<(), Failure>) {
        let is_current =
            |session: &Session| session.contents.freeze_state == FreezeState::Freezing { ticket };
        let Some(mut session) = self.session_if(id, is_current) else { return };
        match result {
            Ok(()) => session.contents.freeze_state = FreezeState::Frozen { since: session.now },
            Err(failure) => session.stay_awake(failure),
        }
        session.touch();
    }

    /// Handles the report that a window was thawed. If that failed, the next use notices it, and so does its
    /// heartbeat.
    pub(crate) fn thawed(&mut self, id: SessionId, ticket: Ticket) {
        let is_current = |session: &Session| session.contents.freeze_state == FreezeState::Thawing { ticket };
        let Some(mut session) = self.session_if(id, is_current) else { return };
        session.contents.freeze_state = FreezeState::Running;
        session.freeze_not_before = session.now + session.limits.freeze_settle;
        session.touch();
    }
}

impl SessionMut<'_> {
    fn settle_freezing(&mut self) {
        if self.is_wanted() {
            self.answer_freeze_requests(&Err(Refusal::InUse));
        } else if self.is_hibernating() || self.contents.freeze_state.is_frozen() {
            // A hibernated session needs even less memory.
            self.answer_freeze_requests(&Ok(Answer::Session { session: self.session.id, is_new: false }));
        }
        match self.freeze_step(self.limits.freeze_after, self.now) {
            Some(FreezeStep::Thaw) => self.thaw(),
            Some(FreezeStep::SettleDown) => self.settle_down(false),
            Some(FreezeStep::Freeze { for_memory }) => self.freeze_settled(for_memory),
            Some(FreezeStep::StayAwake) => self.contents.freeze_state = FreezeState::Running,
            None => {}
        }
    }

    /// Orders the state to be saved, if there is anything new.
    pub(crate) fn settle_down(&mut self, for_memory: bool) {
        self.contents.freeze_state = FreezeState::SavingFirst { for_memory };
        let is_new = self.contents.saves.due.is_some() || !self.contents.saves.written;
        let now = self.now;
        self.contents.saves.due = is_new.then_some(self.contents.saves.due.map_or(now, |due| due.min(now)));
        if self.is_saved_to_freeze(now) {
            self.freeze_settled(for_memory);
        }
    }

    fn freeze_settled(&mut self, for_memory: bool) {
        let ticket = self.effects.next_ticket();
        self.contents.freeze_state = FreezeState::Freezing { ticket };
        let why = if !self.freeze_requests.is_empty() {
            "requested by a client"
        } else if for_memory {
            "memory is short and it was the least recently used"
        } else {
            "not used for a while"
        };
        why.clone_into(&mut self.why);
        self.effects.act(Action::Freeze { session: self.session.id, ticket });
    }

    fn thaw(&mut self) {
        let ticket = self.effects.next_ticket();
        self.contents.freeze_state = FreezeState::Thawing { ticket };
        let why = if self.is_wanted() { "needed by a client" } else { "needed for an activity" };
        why.clone_into(&mut self.why);
        self.effects.act(Action::Thaw { session: self.session.id, ticket });
        self.touch();
    }

    /// Notes that it was to be frozen and cannot be.
    pub(crate) fn stay_awake(&mut self, failure: Failure) {
        let retry_at = self.now + self.limits.save_retry;
        if matches!(
            self.contents.freeze_state,
            FreezeState::SavingFirst { .. } | FreezeState::Freezing { .. }
        ) {
            self.contents.freeze_state = FreezeState::Running;
            self.freeze_not_before = retry_at;
            self.unfreezable_until = retry_at;
            self.answer_freeze_requests(&Err(Refusal::Failed(failure)));
        }
    }

    fn answer_freeze_requests(&mut self, answer: &Result<Answer, Refusal>) {
        for request in std::mem::take(&mut self.freeze_requests) {
            self.effects.answer(request, answer.clone());
        }
    }
}
