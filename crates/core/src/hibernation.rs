//! Sessions without a window: which hibernate, and which are woken.
//!
//! A window is closed only after its state was saved, except if a client restarts it. If a client needs the session
//! meanwhile, the window stays open.

use std::time::Duration;

use crate::action::{NoticeKind, Refusal};
use crate::activity::Failure;
use crate::capacity::RETRY_AFTER;
use crate::contents::{ActivityState, Saves};
use crate::ids::{RequestId, SessionId, ShardId};
use crate::rules::Rules;
use crate::session::{CloseReason, Residence, Session, Window};
use crate::session_mut::SessionMut;
use crate::time::Moment;

impl Session {
    /// Returns whether its window could be closed now without being missed.
    pub(crate) fn can_hibernate(&self, now: Moment) -> bool {
        self.can_hibernate_in_time() && self.hibernate_not_before <= now
    }

    /// Returns the same, now or once the delay after its last failed save is over.
    fn can_hibernate_in_time(&self) -> bool {
        let at_rest =
            matches!(self.window, Window::None | Window::Placed(_) | Window::Open(_)) && !self.is_worked_on();
        self.ended.is_none()
            && self.established
            && !self.is_hibernating()
            && at_rest
            && !self.in_use()
            && !self.is_wanted()
    }

    /// Returns why a client's request for it is refused, with `waiting` other requests waiting for the same.
    pub(crate) fn refusal(&self, waiting: usize, max_waiting: usize) -> Option<Refusal> {
        if self.in_use() || !self.waiting.is_empty() {
            Some(Refusal::InUse)
        } else if !self.established {
            Some(Refusal::NotReady { retry_after: RETRY_AFTER })
        } else {
            (waiting >= max_waiting).then_some(Refusal::TooMany)
        }
    }

    /// Returns whether its window may be closed for a new session or because of a timeout.
    pub(crate) fn may_hibernate(&self, now: Moment) -> bool {
        self.may_hibernate_in_time() && self.hibernate_not_before <= now
    }

    /// Returns the same, now or once the delay after its last failed save is over.
    pub(crate) fn may_hibernate_in_time(&self) -> bool {
        !self.policy.never_terminate && self.hibernate_requests.is_empty() && self.can_hibernate_in_time()
    }

    /// Returns whether a request waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() || !self.refresh_requests.is_empty() || !self.wake_requests.is_empty()
    }

    /// Returns when it hibernates if it is not used until then.
    pub(crate) fn hibernates_at(&self, hibernate_after: Option<Duration>) -> Option<Moment> {
        hibernate_after.map(|after| (self.last_used + after).max(self.hibernate_not_before))
    }

    /// Returns whether its window is open and is not about to be closed.
    #[must_use]
    pub fn keeps_window(&self) -> bool {
        self.ended.is_none() && !self.is_hibernating() && matches!(self.window, Window::Open(_))
    }

    /// Returns the reason to hibernate it now, if there is one and it can.
    fn why_hibernate(
        &self,
        draining: bool,
        hibernate_after: Option<Duration>,
        now: Moment,
    ) -> Option<&'static str> {
        let is_idle = || self.hibernates_at(hibernate_after).is_some_and(|at| at <= now);
        if draining && self.can_hibernate(now) {
            Some("the server is draining")
        } else if !self.hibernate_requests.is_empty() && self.can_hibernate(now) {
            Some("requested by a client")
        } else {
            (is_idle() && self.may_hibernate(now)).then_some("not used for a while")
        }
    }

    /// Returns whether a request needs it that outweighs the reason to close its window.
    fn is_kept_by_wish(&self) -> bool {
        let is_about_to_go =
            matches!(self.window, Window::Saving(_, CloseReason::Hibernate | CloseReason::Move))
                && !self.has_refresh_window();
        let is_asked_to_go = !self.is_hibernating() && !self.hibernate_requests.is_empty();
        self.is_wanted() && (is_about_to_go || is_asked_to_go)
    }

    /// Returns whether it hibernates, as requests require that have not been answered yet.
    fn hibernates_as_asked(&self) -> bool {
        let is_away = self.window == Window::None || self.has_refresh_window();
        self.is_hibernating() && is_away && !self.hibernate_requests.is_empty()
    }

    /// Notes that its window is about to be closed, and that it will have none.
    pub(crate) fn is_leaving(&self) -> bool {
        (self.is_hibernating() || self.ended.is_some())
            && self.window != Window::None
            && !self.has_refresh_window()
    }
}

impl Rules {
    pub(crate) fn hibernate(&mut self, request: RequestId, id: SessionId) {
        let Some(mut session) = self.living_mut(request, id) else { return };
        let refusal = session.refusal(session.hibernate_requests.len(), session.limits.max_waiting);
        if let Some(refusal) = refusal {
            return session.effects.answer(request, Err(refusal));
        }
        session.hibernate_not_before = Moment(0);
        session.hibernate_requests.push(request);
    }

    pub(crate) fn wake(&mut self, request: RequestId, id: SessionId) {
        let draining = self.draining;
        let Some(mut session) = self.living_mut(request, id) else { return };
        if draining {
            return session.effects.answer(request, Err(Refusal::Draining));
        }
        if session.wake_requests.len() >= session.limits.max_waiting {
            return session.effects.answer(request, Err(Refusal::TooMany));
        }
        session.last_used = session.now;
        session.wake_requests.push(request);
        session.touch();
    }

    /// Closes windows that are to be closed, and keeps those that are needed after all.
    pub(crate) fn settle_hibernation(&mut self, now: Moment) {
        for id in self.sessions.examined() {
            self.settle_hibernation_of(id, now);
        }
        self.move_out_windows(now);
        self.move_window(now);
        self.answer_drain_waiters(now);
    }

    fn settle_hibernation_of(&mut self, id: SessionId, now: Moment) {
        let (draining, hibernate_after) = (self.draining, self.limits.hibernate_after);
        let Some(session) = self.sessions.get(&id).filter(|session| session.ended.is_none()) else { return };
        let why = session.why_hibernate(draining, hibernate_after, now);
        if (why.is_some() || (!draining && session.is_kept_by_wish()))
            && let Some(mut session) = self.session_mut(id)
        {
            match why {
                Some(why) => session.hibernate_window(why),
                None => session.keep_window(),
            }
        }
        if draining {
            self.refuse_while_draining(id);
        }
        if let Some(mut session) = self.session_if(id, Session::hibernates_as_asked) {
            for request in std::mem::take(&mut session.hibernate_requests) {
                session.answer_with_it(request);
            }
        }
    }
}

impl SessionMut<'_> {
    /// Keeps a window open that was about to be closed.
    fn keep_window(&mut self) {
        if let Window::Saving(shard, CloseReason::Hibernate | CloseReason::Move) = self.window {
            self.window = Window::Open(shard);
            self.stay();
            self.touch();
        }
        if !self.is_hibernating() {
            self.refuse_hibernate_requests(&Refusal::InUse);
        }
    }

    /// Hibernates it: its state is saved, then its window is closed.
    pub(crate) fn hibernate_window(&mut self, why: &str) {
        self.residence = Residence::Hibernating { was_recovering: self.is_recovering() };
        match self.window {
            // Nothing has happened in it since its state was saved.
            Window::Open(_) if self.is_frozen_as_written() => self.close_window(),
            Window::Open(shard) if self.contents.restored => {
                self.save_and_close(shard, CloseReason::Hibernate);
            }
            _ => self.close_window(),
        }
        self.announce(NoticeKind::Hibernating, why);
    }

    /// Orders the last save of its window's state before it is closed. It replaces a save that is running: the report
    /// of that will be late.
    pub(crate) fn save_and_close(&mut self, shard: ShardId, reason: CloseReason) {
        self.window = Window::Saving(shard, reason);
        // The next activity is done if the window stays open after all.
        if matches!(self.contents.activity, ActivityState::Running(_)) {
            self.contents.activity = ActivityState::Idle;
        }
        self.contents.saves = Saves { due: Some(Moment(0)), running: None, ..self.contents.saves };
    }

    /// Continues once the state of a window that is to be closed was saved, or could not be.
    pub(crate) fn final_save_ended(&mut self, saved: Result<(), Failure>) {
        let Window::Saving(shard, reason) = self.window else { return };
        let retry_at = self.now + self.limits.save_retry;
        match (saved, reason) {
            (Ok(()), CloseReason::Hibernate) if self.has_refresh_window() => self.close_window(),
            // Its portal may have changed its cookies: the stored state may be useless.
            (Err(_), CloseReason::Hibernate) if self.has_refresh_window() => {
                self.window = Window::Open(shard);
                self.hibernate_not_before = retry_at;
            }
            (Ok(()), _) | (Err(_), CloseReason::Restart) => {
                self.residence = match reason {
                    CloseReason::Hibernate => Residence::Hibernating { was_recovering: false },
                    CloseReason::Restart | CloseReason::Move | CloseReason::MoveOut => Residence::Recovering,
                };
                self.close_window();
            }
            (Err(failure), CloseReason::Hibernate | CloseReason::Move) => {
                self.window = Window::Open(shard);
                self.stay();
                self.hibernate_not_before = retry_at;
                self.refuse_hibernate_requests(&Refusal::Failed(failure));
            }
            (Err(_), CloseReason::MoveOut) => {
                // It is moved when it slows others down once more, or when its page is lost.
                self.window = Window::Open(shard);
                self.contents.moves_out_since = None;
                self.hibernate_not_before = retry_at;
            }
        }
    }

    fn refuse_hibernate_requests(&mut self, refusal: &Refusal) {
        for request in std::mem::take(&mut self.hibernate_requests) {
            self.effects.answer(request, Err(refusal.clone()));
        }
    }
}
