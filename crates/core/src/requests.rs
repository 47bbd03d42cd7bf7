//! Requests of clients. Each is answered exactly once, here or when the session is no longer busy.

use std::time::Duration;

use crate::action::{Answer, EndedReason, NoticeKind, Refusal};
use crate::activity::{Activity, Failure, FailureKind};
use crate::contents::ActivityState;
use crate::ids::{HoldId, RequestId, SessionId};
use crate::rules::Rules;
use crate::session::{CloseReason, Hold, Residence, Session, Waiting, Window, Wish};
use crate::session_mut::SessionMut;
use crate::spec::PolicyPatch;
use crate::time::Moment;

impl Rules {
    /// Returns the living session of a request, or answers with a refusal.
    pub(crate) fn living_mut(&mut self, request: RequestId, id: SessionId) -> Option<SessionMut<'_>> {
        let refusal = match self.sessions.get(&id).map(|session| session.ended) {
            None => Refusal::NotFound,
            Some(Some((_, reason))) => Refusal::Ended(reason),
            Some(None) => return self.session_mut(id),
        };
        self.effects.answer(request, Err(refusal));
        None
    }

    pub(crate) fn patch(&mut self, request: RequestId, id: SessionId, patch: PolicyPatch) {
        self.sessions.fresh();
        let taken = self.is_name_taken(id, patch.name.as_ref());
        let Some(mut session) = self.living_mut(request, id) else { return };
        if taken {
            return session.effects.answer(request, Err(Refusal::NameTaken { differs: Vec::new() }));
        }
        if patch.name.is_some() {
            session.name = patch.name;
        }
        let policy = &mut session.policy;
        policy.keep_alive = patch.keep_alive.unwrap_or(policy.keep_alive);
        policy.never_terminate = patch.never_terminate.unwrap_or(policy.never_terminate);
        policy.idle_timeout = patch.idle_timeout.unwrap_or(policy.idle_timeout);
        policy.own_refresh = patch.refresh_interval.or(policy.own_refresh);
        session.policy_changed();
        session.announce(NoticeKind::Updated, "changed by a client");
        session.answer_with_it(request);
    }

    /// Returns whether another session, or a waiting request for one, has this name.
    #[must_use]
    pub fn is_name_taken(&self, id: SessionId, name: Option<&String>) -> bool {
        let Some(name) = name else { return false };
        self.sessions.index().named(name).any(|other| other != id)
            || self.queue.newcomers().any(|newcomer| newcomer.spec.name.as_ref() == Some(name))
    }

    pub(crate) fn close(&mut self, request: RequestId, id: SessionId) {
        let Some(mut session) = self.living_mut(request, id) else { return };
        session.close_requests.push(request);
        session.end(EndedReason::ClosedByClient, None);
    }

    pub(crate) fn ping(&mut self, request: RequestId, id: SessionId) {
        let Some(mut session) = self.living_mut(request, id) else { return };
        session.last_used = session.now;
        session.touch();
        session.answer_with_it(request);
    }

    pub(crate) fn wait_for_rest(&mut self, request: RequestId, id: SessionId, wish: Wish) {
        // A client that already holds it is waited for.
        let is_refused = self.draining && !matches!(wish, Wish::Resume { .. });
        let Some(mut session) = self.living_mut(request, id) else { return };
        if is_refused {
            return session.effects.answer(request, Err(Refusal::Draining));
        }
        let limits = session.limits;
        let is_full = match wish {
            Wish::Hold { .. } => {
                session.waiting.len() >= limits.max_waiting || session.holds.len() >= limits.max_holds
            }
            Wish::Use => session.waiting.len() >= limits.max_waiting,
            Wish::Resume { .. } => false,
        };
        if is_full {
            return session.effects.answer(request, Err(Refusal::TooMany));
        }
        let deadline = session.now + limits.queue_timeout;
        let waiting = Waiting::new(request, wish, deadline, session.now);
        session.waiting.push(waiting);
    }

    /// Gives the session to waiting requests, in order, once no activity runs in it.
    pub(crate) fn serve_waiting(&mut self, id: SessionId, now: Moment) {
        let has_nobody = |session: &Session| session.wake_requests.is_empty() && session.waiting.is_empty();
        let is_served = |session: &Session| !has_nobody(session) && !session.busy(now);
        let Some(mut session) = self.session_if(id, is_served) else { return };
        for request in std::mem::take(&mut session.wake_requests) {
            session.answer_with_it(request);
        }
        let is_beside = session.contents.beside.running.is_some();
        let is_patient = |waiting: &&Waiting| {
            // A client that wants no refresh meanwhile waits for one that already runs.
            let is_quiet = matches!(waiting.wish, Wish::Hold { quiet: true, .. });
            (is_quiet && is_beside) || session.comes_after_move_out(waiting).is_some_and(|until| now < until)
        };
        let (later, next): (Vec<Waiting>, Vec<Waiting>) = session.waiting.iter().partition(is_patient);
        session.waiting = later;
        for waiting in next {
            let answer = session.serve(waiting.wish);
            session.effects.answer(waiting.request, answer);
        }
    }

    pub(crate) fn end_use(&mut self, id: SessionId) {
        let Some(mut session) = self.session_if(id, |session| session.uses > 0) else { return };
        session.uses -= 1;
        // The use of a silent client had ended before.
        if session.is_used() || session.holds.is_empty() {
            session.last_used = session.now;
        }
        session.touch();
    }

    pub(crate) fn extend_hold(&mut self, request: RequestId, id: SessionId, hold: HoldId, ttl: Duration) {
        let Some(mut session) = self.living_mut(request, id) else { return };
        if !session.prolong_hold(hold, ttl) {
            return session.effects.answer(request, Err(Refusal::HoldNotFound));
        }
        session.last_used = session.now;
        let expires_at = session.now + ttl;
        session.effects.answer(request, Ok(Answer::Hold { hold, expires_at }));
    }

    /// Notes that the holder is still connected, which does not count as a use.
    pub(crate) fn keep_hold(&mut self, id: SessionId, hold: HoldId, ttl: Duration) {
        if let Some(mut session) = self.session_mut(id) {
            session.prolong_hold(hold, ttl);
        }
    }

    pub(crate) fn release_hold(&mut self, request: RequestId, id: SessionId, hold: HoldId) {
        let Some(mut session) = self.living_mut(request, id) else { return };
        let before = session.holds.len();
        session.holds.retain(|other| other.id != hold);
        if session.holds.len() == before {
            return session.effects.answer(request, Err(Refusal::HoldNotFound));
        }
        let now = session.now;
        session.last_used = now;
        session.announce(NoticeKind::HoldReleased, "released by its holder");
        session.save_by(now);
        session.effects.answer(request, Ok(Answer::Done));
    }

    /// Schedules a refresh if a request waits for an outcome and nothing runs that could give one.
    pub(crate) fn begin_refresh_requests(&mut self, id: SessionId) {
        let begins = |session: &Session| {
            session.contents.activity == ActivityState::Idle
                && matches!(session.window, Window::Open(_))
                && !session.refresh_requests.is_empty()
        };
        if let Some(mut session) = self.session_if(id, begins) {
            session.contents.activity = ActivityState::Next(Activity::Refresh);
        }
    }

    /// Adds a request that waits for an outcome, unless the session is in use.
    pub(crate) fn ask(&mut self, request: RequestId, id: SessionId) -> Option<SessionMut<'_>> {
        let draining = self.draining;
        let mut session = self.living_mut(request, id)?;
        let refusal = session.refusal(session.refresh_requests.len(), session.limits.max_waiting);
        if let Some(refusal) = draining.then_some(Refusal::Draining).or(refusal) {
            session.effects.answer(request, Err(refusal));
            return None;
        }
        session.refresh_requests.push(request);
        session.not_before = session.now;
        session.failures = 0;
        session.clear_refusal();
        Some(session)
    }

    pub(crate) fn refresh_now(&mut self, request: RequestId, id: SessionId) {
        let Some(mut session) = self.ask(request, id) else { return };
        session.refresh_first();
        session.touch();
    }

    pub(crate) fn restart(&mut self, request: RequestId, id: SessionId) {
        let Some(mut session) = self.ask(request, id) else { return };
        // A hibernated session gets another window anyway.
        if session.is_hibernating() && (session.window == Window::None || session.has_refresh_window()) {
            return;
        }
        session.residence = Residence::Recovering;
        session.attention = None;
        "restarted by a client".clone_into(&mut session.why);
        match session.window {
            Window::Open(shard) | Window::Saving(shard, _) if session.contents.restored => {
                session.save_and_close(shard, CloseReason::Restart);
            }
            _ => session.close_window(),
        }
        session.touch();
    }
}

impl SessionMut<'_> {
    /// Drops refreshes that are no longer needed, and schedules the next ones in time.
    pub(crate) fn policy_changed(&mut self) {
        let interval = self.policy.refresh_interval();
        if interval.is_none()
            && self.refresh_requests.is_empty()
            && self.contents.activity == ActivityState::Next(Activity::Refresh)
        {
            self.contents.activity = ActivityState::Idle;
        }
        self.check_within(interval);
    }

    fn serve(&mut self, wish: Wish) -> Result<Answer, Refusal> {
        let (hold, ttl, shared, quiet) = match wish {
            Wish::Hold { hold, ttl, shared, quiet } => (hold, ttl, shared, quiet),
            Wish::Resume { hold } => return self.resume_hold(hold),
            Wish::Use => {
                self.uses += 1;
                self.last_used = self.now;
                self.touch();
                return Ok(Answer::MayUse);
            }
        };
        if self.holds.iter().any(|other| !shared || !other.shared) {
            return Err(Refusal::InUse);
        }
        let expires_at = self.now + ttl;
        self.holds.push(Hold { id: hold, shared, quiet, silent_since: None, expires_at });
        self.last_used = self.now;
        self.announce(NoticeKind::HoldGranted, "held by a client");
        Ok(Answer::Hold { hold, expires_at })
    }

    /// Extends a hold to `ttl` from now. Returns whether there is such a hold.
    fn prolong_hold(&mut self, hold: HoldId, ttl: Duration) -> bool {
        let expires_at = self.now + ttl;
        let Some(found) = self.holds.iter_mut().find(|other| other.id == hold) else { return false };
        found.expires_at = expires_at;
        self.touch();
        true
    }
}

impl Failure {
    /// Returns a failure of Pilotlight, not of the portal.
    pub(crate) fn browser(sentence: &str) -> Self {
        Self { kind: FailureKind::Browser, sentence: sentence.to_owned() }
    }
}
