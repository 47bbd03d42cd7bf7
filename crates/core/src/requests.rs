//! What clients ask for. Each request is answered exactly once, here or when the session is at rest.

use std::time::Duration;

use crate::action::{Answer, EndedReason, NoticeKind, Refusal};
use crate::activity::{Activity, Failure, FailureKind};
use crate::ids::{HoldId, RequestId, SessionId};
use crate::rules::Rules;
use crate::session::{ActivityState, CloseReason, Hold, Session, Waiting, Window, Wish};
use crate::spec::PolicyPatch;
use crate::time::Moment;

impl Rules {
    /// The living session of a request, or its refusal given.
    pub(crate) fn living_mut(&mut self, request: RequestId, id: SessionId) -> Option<&mut Session> {
        let refusal = match self.sessions.get(&id).map(|session| session.ended) {
            None => Refusal::NotFound,
            Some(Some((_, reason))) => Refusal::Ended(reason),
            Some(None) => return self.sessions.get_mut(&id),
        };
        self.answer(request, Err(refusal));
        None
    }

    pub(crate) fn patch(&mut self, request: RequestId, id: SessionId, patch: PolicyPatch, now: Moment) {
        self.sessions.fresh();
        let taken = self.is_name_taken(id, patch.name.as_ref());
        let Some(session) = self.living_mut(request, id) else { return };
        if taken {
            return self.answer(request, Err(Refusal::NameTaken { differs: Vec::new() }));
        }
        if patch.name.is_some() {
            session.name = patch.name;
        }
        let policy = &mut session.policy;
        policy.keep_alive = patch.keep_alive.unwrap_or(policy.keep_alive);
        policy.never_terminate = patch.never_terminate.unwrap_or(policy.never_terminate);
        policy.idle_timeout = patch.idle_timeout.unwrap_or(policy.idle_timeout);
        policy.own_refresh = patch.refresh_interval.or(policy.own_refresh);
        self.policy_changed(id, now);
        self.announce(id, NoticeKind::Updated, "a client changed it");
        self.answer(request, Ok(Answer::Session { session: id, is_new: false }));
    }

    /// Returns whether another session, or somebody who waits for one, has this name.
    #[must_use]
    pub fn is_name_taken(&self, id: SessionId, name: Option<&String>) -> bool {
        name.is_some_and(|name| self.sessions.index().named(name).any(|other| other != id))
            || name.is_some() && self.queue.newcomers().any(|newcomer| newcomer.spec.name.as_ref() == name)
    }

    /// A refresh that nobody wants any more does not come, and one that somebody wants comes in time.
    pub(crate) fn policy_changed(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let interval = session.policy.refresh_interval();
        if interval.is_none()
            && session.refresh_requests.is_empty()
            && session.activity == ActivityState::Next(Activity::Refresh)
        {
            session.activity = ActivityState::Idle;
        }
        self.check_within(interval, now);
    }

    pub(crate) fn close(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let Some(session) = self.living_mut(request, id) else { return };
        session.close_requests.push(request);
        self.end(id, EndedReason::ClosedByClient, None, now);
    }

    pub(crate) fn ping(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let Some(session) = self.living_mut(request, id) else { return };
        session.last_used = now;
        self.touch(id);
        self.answer(request, Ok(Answer::Session { session: id, is_new: false }));
    }

    pub(crate) fn wait_for_rest(&mut self, request: RequestId, id: SessionId, wish: Wish, now: Moment) {
        let deadline = now + self.limits.queue_timeout;
        let (max_waiting, max_holds) = (self.limits.max_waiting, self.limits.max_holds);
        let draining = self.draining;
        let Some(session) = self.living_mut(request, id) else { return };
        if draining {
            return self.answer(request, Err(Refusal::Draining));
        }
        if session.waiting.len() >= max_waiting || session.holds.len() >= max_holds {
            return self.answer(request, Err(Refusal::TooMany));
        }
        session.waiting.push(Waiting { request, deadline, wish });
    }

    /// Gives the session to those who wait, in their order, once nothing of ours runs in it.
    pub(crate) fn serve_waiting(&mut self, id: SessionId, now: Moment) {
        let has_nobody = |session: &Session| session.wake_requests.is_empty() && session.waiting.is_empty();
        if self.sessions.get(&id).is_none_or(|session| has_nobody(session) || session.busy(now)) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for request in std::mem::take(&mut session.wake_requests) {
            self.answer(request, Ok(Answer::Session { session: id, is_new: false }));
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for waiting in std::mem::take(&mut session.waiting) {
            let answer = self.serve(id, waiting.wish, now);
            self.answer(waiting.request, answer);
        }
    }

    fn serve(&mut self, id: SessionId, wish: Wish, now: Moment) -> Result<Answer, Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::NotFound)?;
        let Wish::Hold { hold, ttl, shared } = wish else {
            session.uses += 1;
            session.last_used = now;
            self.touch(id);
            return Ok(Answer::MayUse);
        };
        if session.holds.iter().any(|other| !shared || !other.shared) {
            return Err(Refusal::InUse);
        }
        let expires_at = now + ttl;
        session.holds.push(Hold { id: hold, shared, expires_at });
        session.last_used = now;
        self.announce(id, NoticeKind::HoldGranted, "a client took hold of it");
        Ok(Answer::Hold { hold, expires_at })
    }

    pub(crate) fn end_use(&mut self, id: SessionId, now: Moment) {
        if self.sessions.get(&id).is_none_or(|session| session.uses == 0) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.uses -= 1;
        session.last_used = now;
        self.touch(id);
    }

    pub(crate) fn extend_hold(
        &mut self,
        request: RequestId,
        id: SessionId,
        hold: HoldId,
        ttl: Duration,
        now: Moment,
    ) {
        let Some(session) = self.living_mut(request, id) else { return };
        let Some(found) = session.holds.iter_mut().find(|other| other.id == hold) else {
            return self.answer(request, Err(Refusal::HoldNotFound));
        };
        found.expires_at = now + ttl;
        let expires_at = found.expires_at;
        session.last_used = now;
        self.touch(id);
        self.answer(request, Ok(Answer::Hold { hold, expires_at }));
    }

    /// The holder is still there, which is no use of the session yet.
    pub(crate) fn keep_hold(&mut self, id: SessionId, hold: HoldId, ttl: Duration, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(found) = session.holds.iter_mut().find(|other| other.id == hold) {
            found.expires_at = now + ttl;
            self.touch(id);
        }
    }

    pub(crate) fn release_hold(&mut self, request: RequestId, id: SessionId, hold: HoldId, now: Moment) {
        let Some(session) = self.living_mut(request, id) else { return };
        let before = session.holds.len();
        session.holds.retain(|other| other.id != hold);
        if session.holds.len() == before {
            return self.answer(request, Err(Refusal::HoldNotFound));
        }
        session.last_used = now;
        self.announce(id, NoticeKind::HoldReleased, "its holder gave it back");
        self.save_by(id, now);
        self.answer(request, Ok(Answer::Done));
    }

    /// Where somebody waits for an outcome and nothing runs that could give one, a refresh will.
    pub(crate) fn begin_refresh_requests(&mut self, id: SessionId) {
        let begins = |session: &Session| {
            session.activity == ActivityState::Idle
                && matches!(session.window, Window::Open(_))
                && !session.refresh_requests.is_empty()
        };
        if self.sessions.get(&id).is_some_and(begins)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.activity = ActivityState::Next(Activity::Refresh);
        }
    }

    /// Takes on somebody who waits for an outcome, unless somebody uses the session.
    pub(crate) fn ask(&mut self, request: RequestId, id: SessionId, now: Moment) -> Option<&mut Session> {
        let (max_waiting, draining) = (self.limits.max_waiting, self.draining);
        let session = self.living_mut(request, id)?;
        let refusal = session.refusal(session.refresh_requests.len(), max_waiting);
        if let Some(refusal) = draining.then_some(Refusal::Draining).or(refusal) {
            self.answer(request, Err(refusal));
            return None;
        }
        session.refresh_requests.push(request);
        session.not_before = now;
        session.failures = 0;
        session.clear_refusal();
        self.sessions.get_mut(&id)
    }

    pub(crate) fn refresh_now(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let Some(session) = self.ask(request, id, now) else { return };
        session.refresh_first();
        self.touch(id);
    }

    pub(crate) fn restart(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let Some(session) = self.ask(request, id, now) else { return };
        // A cold one gets another window anyway.
        if session.is_hibernating && session.window == Window::None {
            return;
        }
        session.is_hibernating = false;
        session.recovering = true;
        session.attention = None;
        "a client restarts its window".clone_into(&mut session.why);
        match session.window {
            Window::Open(shard) | Window::Saving(shard, _) if session.restored => {
                self.save_and_close(id, shard, CloseReason::Restart);
            }
            _ => self.close_window(id, now),
        }
        self.touch(id);
    }
}

impl Failure {
    /// A failure of ours, not of the portal.
    pub(crate) fn browser(sentence: &str) -> Self {
        Self { kind: FailureKind::Browser, sentence: sentence.to_owned() }
    }
}
