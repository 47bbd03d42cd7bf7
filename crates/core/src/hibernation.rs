//! Sessions without a window: who hibernates, and who is woken.
//!
//! A window goes only after its state was written down, except where a client restarts it. Whoever wants the
//! session meanwhile keeps the window.

use std::time::Duration;

use crate::action::{Answer, NoticeKind, Refusal};
use crate::activity::Failure;
use crate::capacity::RETRY_AFTER;
use crate::ids::{RequestId, SessionId, ShardId};
use crate::rules::Rules;
use crate::session::{ActivityState, CloseReason, Saves, Session, Window};
use crate::time::Moment;

impl Session {
    /// Whether its window could go now without anybody missing it.
    pub(crate) fn can_hibernate(&self, now: Moment) -> bool {
        self.can_hibernate_in_time() && self.hibernate_not_before <= now
    }

    /// The same, as soon as its last save that failed is a while ago.
    fn can_hibernate_in_time(&self) -> bool {
        let at_rest = matches!(self.window, Window::None | Window::Placed(_) | Window::Open(_))
            && !matches!(self.activity, ActivityState::Running(_));
        self.ended.is_none()
            && self.established
            && !self.is_hibernating
            && at_rest
            && !self.in_use()
            && !self.is_wanted()
    }

    /// Why a client's order for it is not taken on, with `waiting` others waiting for the same.
    pub(crate) fn refusal(&self, waiting: usize, max_waiting: usize) -> Option<Refusal> {
        if self.in_use() || !self.waiting.is_empty() {
            Some(Refusal::InUse)
        } else if !self.established {
            Some(Refusal::NotReady { retry_after: RETRY_AFTER })
        } else {
            (waiting >= max_waiting).then_some(Refusal::TooMany)
        }
    }

    /// Whether a newcomer, or the passing of time, may make its window go.
    pub(crate) fn may_hibernate(&self, now: Moment) -> bool {
        self.may_hibernate_in_time() && self.hibernate_not_before <= now
    }

    /// The same, as soon as its last save that failed is a while ago.
    pub(crate) fn may_hibernate_in_time(&self) -> bool {
        !self.policy.never_terminate && self.hibernate_requests.is_empty() && self.can_hibernate_in_time()
    }

    /// Whether somebody waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() || !self.refresh_requests.is_empty() || !self.wake_requests.is_empty()
    }

    /// When it hibernates if nobody uses it until then.
    pub(crate) fn hibernates_at(&self, hibernate_after: Option<Duration>) -> Option<Moment> {
        hibernate_after.map(|after| (self.last_used + after).max(self.hibernate_not_before))
    }

    /// Whether its window is open and is not about to go.
    #[must_use]
    pub fn keeps_window(&self) -> bool {
        self.ended.is_none() && !self.is_hibernating && matches!(self.window, Window::Open(_))
    }

    /// Its window is about to go, and it will have none.
    pub(crate) fn is_leaving(&self) -> bool {
        (self.is_hibernating || self.ended.is_some()) && self.window != Window::None
    }
}

impl Rules {
    pub(crate) fn hibernate(&mut self, request: RequestId, id: SessionId) {
        let max_waiting = self.limits.max_waiting;
        let Some(session) = self.living_mut(request, id) else { return };
        if let Some(refusal) = session.refusal(session.hibernate_requests.len(), max_waiting) {
            return self.answer(request, Err(refusal));
        }
        session.hibernate_not_before = Moment(0);
        session.hibernate_requests.push(request);
    }

    pub(crate) fn wake(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let max_waiting = self.limits.max_waiting;
        let draining = self.draining;
        let Some(session) = self.living_mut(request, id) else { return };
        if draining {
            return self.answer(request, Err(Refusal::Draining));
        }
        if session.wake_requests.len() >= max_waiting {
            return self.answer(request, Err(Refusal::TooMany));
        }
        session.last_used = now;
        session.wake_requests.push(request);
        self.touch(id);
    }

    /// Sends windows away that are to go, and takes back those that somebody wants after all.
    pub(crate) fn settle_hibernation(&mut self, now: Moment) {
        for id in self.sessions.examined() {
            let Some(session) = self.sessions.get(&id) else { continue };
            if session.ended.is_some() {
                continue;
            }
            let asked = !session.hibernate_requests.is_empty() || self.draining;
            let idle = session.hibernates_at(self.limits.hibernate_after).is_some_and(|at| at <= now);
            if session.is_wanted() && !self.draining {
                self.keep_window(id);
            } else if asked && session.can_hibernate(now) {
                let why = if self.draining { "everything is put to rest" } else { "a client asked for it" };
                self.hibernate_window(id, why, now);
            } else if idle && session.may_hibernate(now) {
                self.hibernate_window(id, "nobody used it for a while", now);
            }
            self.refuse_while_draining(id);
            self.answer_hibernate_requests(id);
        }
        self.move_out_windows(now);
        self.move_window(now);
        self.answer_drain_waiters(now);
    }

    /// A window that was about to go stays where it is.
    fn keep_window(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        if let Window::Saving(shard, CloseReason::Hibernate | CloseReason::Move) = session.window
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.window = Window::Open(shard);
            session.is_hibernating = false;
            self.touch(id);
        }
        if self.sessions.get(&id).is_some_and(|session| !session.is_hibernating) {
            self.refuse_hibernate_requests(id, &Refusal::InUse);
        }
    }

    /// Lets a session go cold: its state is written down, then its window is closed.
    pub(crate) fn hibernate_window(&mut self, id: SessionId, why: &str, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.is_hibernating = true;
        match session.window {
            // Nothing happened in it since its state was written down.
            Window::Open(_) if session.is_frozen_as_written() => self.close_window(id, now),
            Window::Open(shard) if session.restored => self.save_and_close(id, shard, CloseReason::Hibernate),
            _ => self.close_window(id, now),
        }
        self.announce(id, NoticeKind::Hibernating, why);
    }

    /// Has the state of a window written down for the last time before it is closed. A save that is running
    /// already is superseded: its report will be late.
    pub(crate) fn save_and_close(&mut self, id: SessionId, shard: ShardId, reason: CloseReason) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.window = Window::Saving(shard, reason);
        // What is to be done next is done if the window stays after all.
        if matches!(session.activity, ActivityState::Running(_)) {
            session.activity = ActivityState::Idle;
        }
        session.saves = Saves { due: Some(Moment(0)), running: None, ..session.saves };
    }

    /// The state of a window that is to go is written down, or cannot be.
    pub(crate) fn final_save_ended(&mut self, id: SessionId, saved: Result<(), Failure>, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Window::Saving(shard, reason) = session.window else { return };
        match (saved, reason) {
            (Ok(()), _) | (Err(_), CloseReason::Restart) => {
                session.recovering = reason != CloseReason::Hibernate;
                self.close_window(id, now);
            }
            (Err(failure), CloseReason::Hibernate | CloseReason::Move) => {
                session.window = Window::Open(shard);
                session.is_hibernating = false;
                session.hibernate_not_before = now + self.limits.save_retry;
                self.refuse_hibernate_requests(id, &Refusal::Failed(failure));
            }
            (Err(_), CloseReason::MoveOut) => {
                // It parts when it holds others up once more, or when its page is lost.
                session.window = Window::Open(shard);
                session.moves_out_since = None;
                session.hibernate_not_before = now + self.limits.save_retry;
            }
        }
    }

    fn refuse_hibernate_requests(&mut self, id: SessionId, refusal: &Refusal) {
        if self.sessions.get(&id).is_none_or(|session| session.hibernate_requests.is_empty()) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for request in std::mem::take(&mut session.hibernate_requests) {
            self.answer(request, Err(refusal.clone()));
        }
    }

    fn answer_hibernate_requests(&mut self, id: SessionId) {
        let is_answered = |session: &Session| {
            session.is_hibernating && session.window == Window::None && !session.hibernate_requests.is_empty()
        };
        if self.sessions.get(&id).is_some_and(is_answered)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            for request in std::mem::take(&mut session.hibernate_requests) {
                self.answer(request, Ok(Answer::Session { session: id, is_new: false }));
            }
        }
    }

    /// Refuses everybody who waits for a session.
    pub(crate) fn refuse_wanted(&mut self, id: SessionId, refusal: &Refusal) {
        if !self.sessions.get(&id).is_some_and(Session::is_wanted) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut told = std::mem::take(&mut session.wake_requests);
        told.append(&mut session.refresh_requests);
        told.extend(std::mem::take(&mut session.waiting).into_iter().map(|waiting| waiting.request));
        for request in told {
            self.answer(request, Err(refusal.clone()));
        }
    }
}
