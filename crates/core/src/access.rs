//! The logins of sessions, and what a rejection by the portal means for all sessions that share one.
//!
//! A rejected login is never typed again automatically: not for another session with the same login, and not by the
//! next server. For that, a sign-in is stored before it is typed ([`Session::tried_at`]); its outcome can be seen in
//! its window, even if the server crashed meanwhile.

use crate::action::{EndedReason, NoticeKind};
use crate::activity::{Activity, Failure, FailureKind, SignInStatus};
use crate::contents::{ActivityState, Attempt};
use crate::ids::{SessionId, Ticket};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::session_mut::SessionMut;
use crate::spec::Access;

impl Session {
    /// Allows its sign-in to be tried again, since a client asked for it.
    pub(crate) fn clear_refusal(&mut self) {
        self.refused = false;
        self.failed_sign_ins = 0;
        self.sign_in.forget_refusal();
    }

    /// Returns whether the portal rejected the password of its request, so that another one may replace it.
    pub(crate) fn wants_password(&self) -> bool {
        self.refused && self.attention.is_some() && self.whose.password.is_some()
    }

    /// Has the next activity begin with a refresh, for whose outcome a request waits.
    pub(crate) fn refresh_first(&mut self) {
        if matches!(self.contents.activity, ActivityState::Next(Activity::Look | Activity::SignIn)) {
            self.contents.activity = ActivityState::Next(Activity::Refresh);
        }
    }
}

impl Rules {
    /// Notes that the portal may receive the sign-in from now on.
    pub(crate) fn typing(&mut self, id: SessionId, ticket: Ticket) {
        let types = |session: &Session| session.ticket == ticket && session.contents.attempt.is_running();
        if let Some(mut session) = self.session_if(id, types) {
            session.contents.attempt = Attempt::Running { typed_at: Some(session.now) };
            session.touch();
        }
    }

    /// Sets new logins. Sessions that wait for a person because their login was rejected try the new one once.
    pub(crate) fn access_changed(&mut self, sessions: Vec<(SessionId, Access)>) {
        for (id, access) in sessions {
            if let Some(mut session) = self.session_if(id, |session| session.ended.is_none()) {
                session.access_changed(access);
            }
        }
    }

    /// Notes that a sign-in was rejected for whose outcome no request waits any more.
    pub(crate) fn refused_late(&mut self, id: SessionId, outcome: Result<SignInStatus, Failure>) {
        let is_refusal = |failure: &Failure| failure.kind == FailureKind::Rejected;
        let Some(failure) = outcome.err().filter(is_refusal) else { return };
        self.propagate_refusal(id, &failure);
        let Some(mut session) = self.session_mut(id) else { return };
        if !session.established {
            return session.end(EndedReason::SignInFailed, Some(failure));
        }
        // A login that was changed while the old one was typed has not been rejected.
        if session.typed == session.access.login {
            session.refused = true;
            session.note_refusal();
        }
        session.contents.attempt = session.contents.attempt.settled();
        session.touch();
    }

    /// Marks all sessions that share a rejected login, so that they do not try it.
    pub(crate) fn propagate_refusal(&mut self, id: SessionId, failure: &Failure) {
        let Some(login) = self.sessions.get(&id).and_then(|session| session.typed) else { return };
        let others: Vec<SessionId> =
            self.sessions.fresh().with_login(login).filter(|other| *other != id).collect();
        for other in others {
            if let Some(mut session) = self.session_mut(other) {
                session.refused_elsewhere(failure);
            }
        }
    }

    /// Notes that a portal can be reached again: sessions that waited for it need not wait any longer.
    pub(crate) fn portal_answers(&mut self, id: SessionId) {
        let Some(site) = self.sessions.get(&id).and_then(|session| session.site) else { return };
        let spread = u64::try_from(self.limits.return_spread.as_millis()).unwrap_or(u64::MAX).max(1);
        let waiting: Vec<SessionId> = self.sessions.fresh().unreachable(site).collect();
        for id in waiting {
            let Some(mut session) = self.session_mut(id) else { continue };
            let soon = session.now + std::time::Duration::from_millis(session.effects.random() % spread);
            session.unreachable = false;
            session.not_before = session.not_before.min(soon);
            session.contents.beside.not_before = session.contents.beside.not_before.min(soon);
        }
    }
}

impl SessionMut<'_> {
    fn access_changed(&mut self, access: Access) {
        self.access = access;
        self.touch();
        if !access.can_sign_in {
            return;
        }
        let waits = self.refused && self.attention.is_some();
        self.clear_refusal();
        if !waits {
            return;
        }
        self.attention = None;
        self.failures = 0;
        self.not_before = self.now;
        "its credential was changed".clone_into(&mut self.why);
        let at_rest =
            matches!(self.contents.activity, ActivityState::Idle | ActivityState::Next(Activity::Look));
        if at_rest && matches!(self.window, Window::Open(_)) {
            self.contents.activity = ActivityState::Next(Activity::SignIn);
        }
    }

    /// Notes that the portal rejected the same login in another session.
    fn refused_elsewhere(&mut self, failure: &Failure) {
        if !self.established {
            return self.end(EndedReason::SignInFailed, Some(failure.clone()));
        }
        self.refused = true;
        self.touch();
        if self.contents.activity == ActivityState::Next(Activity::SignIn) {
            self.contents.activity = ActivityState::Idle;
            self.note_refusal();
            self.attention = Some(failure.sentence.clone());
            self.has_recovered();
            self.announce(NoticeKind::SignInFailed, &failure.sentence);
            self.answer_refresh_requests(&Err(failure.clone()));
        }
    }
}
