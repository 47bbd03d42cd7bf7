//! With what sessions are signed in, and what a portal's refusal of it means for all who share it.
//!
//! A login that was refused is typed once and never again unasked: not by another session that has the same, nor
//! by the next server. For that, a sign-in is written down before it is typed ([`Session::tried_at`]); what came
//! of it is seen in its window, even where the server died meanwhile.

use crate::action::{EndedReason, NoticeKind};
use crate::activity::{Activity, Failure, FailureKind, SignInStatus};
use crate::ids::{SessionId, Ticket};
use crate::rules::Rules;
use crate::session::{ActivityState, Session, Window};
use crate::spec::Access;
use crate::time::Moment;

impl Session {
    /// Its sign-in may be tried again: somebody asked for it.
    pub(crate) fn clear_refusal(&mut self) {
        self.refused = false;
        self.failed_sign_ins = 0;
    }

    /// Whether the portal refused the password that came with it, so that another one is welcome.
    pub(crate) fn wants_password(&self) -> bool {
        self.refused && self.attention.is_some() && self.whose.password.is_some()
    }

    /// Has what is about to begin start with a refresh, whose outcome somebody waits for.
    pub(crate) fn refresh_first(&mut self) {
        if matches!(self.activity, ActivityState::Next(Activity::Look | Activity::SignIn)) {
            self.activity = ActivityState::Next(Activity::Refresh);
        }
    }
}

impl Rules {
    /// From here on the portal may have heard of the sign-in.
    pub(crate) fn typing(&mut self, id: SessionId, ticket: Ticket, now: Moment) {
        if let Some(session) = self.current(id, ticket).filter(|session| session.sign_in_running) {
            session.tried_at = Some(now);
            self.touch(id);
        }
    }

    /// Sessions that wait for a person because their sign-in was refused try the new one, once.
    pub(crate) fn access_changed(&mut self, sessions: Vec<(SessionId, Access)>, now: Moment) {
        for (id, access) in sessions {
            let is_living = self.sessions.get(&id).is_some_and(|session| session.ended.is_none());
            let Some(session) = self.sessions.get_mut(&id).filter(|_| is_living) else { continue };
            session.access = access;
            self.touch(id);
            let Some(session) = self.sessions.get_mut(&id).filter(|_| access.can_sign_in) else { continue };
            let waits = session.refused && session.attention.is_some();
            session.clear_refusal();
            if !waits {
                continue;
            }
            session.attention = None;
            session.failures = 0;
            session.not_before = now;
            "its credential was changed".clone_into(&mut session.why);
            let at_rest =
                matches!(session.activity, ActivityState::Idle | ActivityState::Next(Activity::Look));
            if at_rest && matches!(session.window, Window::Open(_)) {
                session.activity = ActivityState::Next(Activity::SignIn);
            }
        }
    }

    /// A sign-in whose outcome is no longer waited for was refused all the same.
    pub(crate) fn refused_late(
        &mut self,
        id: SessionId,
        outcome: Result<SignInStatus, Failure>,
        now: Moment,
    ) {
        let is_refusal = |failure: &Failure| failure.kind == FailureKind::Rejected;
        let Some(failure) = outcome.err().filter(is_refusal) else { return };
        self.propagate_refusal(id, &failure, now);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.established {
            return self.end(id, EndedReason::SignInFailed, Some(failure), now);
        }
        // What was changed while it was typed has not been refused.
        session.refused |= session.typed == session.access.login;
        session.tried_at = None;
        self.touch(id);
    }

    /// The portal refused what a session typed: all who have the same are spared the try.
    pub(crate) fn propagate_refusal(&mut self, id: SessionId, failure: &Failure, now: Moment) {
        let Some(login) = self.sessions.get(&id).and_then(|session| session.typed) else { return };
        let others: Vec<SessionId> =
            self.sessions.fresh().with_login(login).filter(|other| *other != id).collect();
        for other in others {
            let Some(session) = self.sessions.get_mut(&other) else { continue };
            if !session.established {
                self.end(other, EndedReason::SignInFailed, Some(failure.clone()), now);
                continue;
            }
            session.refused = true;
            let waits = session.activity == ActivityState::Next(Activity::SignIn);
            self.touch(other);
            let Some(session) = self.sessions.get_mut(&other).filter(|_| waits) else { continue };
            session.activity = ActivityState::Idle;
            session.attention = Some(failure.sentence.clone());
            session.recovering = false;
            self.announce(other, NoticeKind::SignInFailed, &failure.sentence);
            self.answer_refresh_requests(other, &Err(failure.clone()));
        }
    }

    /// A portal that answers one session answers all: those that wait because it did not need not wait any longer.
    pub(crate) fn portal_answers(&mut self, id: SessionId, now: Moment) {
        let Some(site) = self.sessions.get(&id).and_then(|session| session.site) else { return };
        let spread = u64::try_from(self.limits.return_spread.as_millis()).unwrap_or(u64::MAX).max(1);
        let waiting: Vec<SessionId> = self.sessions.fresh().unreachable(site).collect();
        for id in waiting {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let soon = now + std::time::Duration::from_millis(self.jitter.next() % spread);
            session.unreachable = false;
            session.not_before = session.not_before.min(soon);
        }
    }
}
