//! With what sessions are signed in, and what a portal's refusal of it means for all who share it.
//!
//! A login that was refused is typed once and never again unasked: not by another session that has the same, nor
//! by the next server. For that, a sign-in is written down before it is typed ([`Session::tried_at`]); what came
//! of it is seen in its window, even where the server died meanwhile.

use crate::action::{EndedReason, NoticeKind};
use crate::activity::{Activity, Failure, FailureKind, SignInStatus};
use crate::contents::{ActivityState, Attempt};
use crate::ids::{SessionId, Ticket};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::session_mut::SessionMut;
use crate::spec::Access;

impl Session {
    /// Its sign-in may be tried again: somebody asked for it.
    pub(crate) fn clear_refusal(&mut self) {
        self.refused = false;
        self.failed_sign_ins = 0;
        self.sign_in.forget_refusal();
    }

    /// Returns whether the portal refused the password that came with it, so that another one is welcome.
    pub(crate) fn wants_password(&self) -> bool {
        self.refused && self.attention.is_some() && self.whose.password.is_some()
    }

    /// Has what is about to begin start with a refresh, whose outcome somebody waits for.
    pub(crate) fn refresh_first(&mut self) {
        if matches!(self.contents.activity, ActivityState::Next(Activity::Look | Activity::SignIn)) {
            self.contents.activity = ActivityState::Next(Activity::Refresh);
        }
    }
}

impl Rules {
    /// From here on the portal may have heard of the sign-in.
    pub(crate) fn typing(&mut self, id: SessionId, ticket: Ticket) {
        let types = |session: &Session| session.ticket == ticket && session.contents.attempt.is_running();
        if let Some(mut session) = self.session_if(id, types) {
            session.contents.attempt = Attempt::Running { typed_at: Some(session.now) };
            session.touch();
        }
    }

    /// Sessions that wait for a person because their sign-in was refused try the new one, once.
    pub(crate) fn access_changed(&mut self, sessions: Vec<(SessionId, Access)>) {
        for (id, access) in sessions {
            if let Some(mut session) = self.session_if(id, |session| session.ended.is_none()) {
                session.access_changed(access);
            }
        }
    }

    /// A sign-in whose outcome is no longer waited for was refused all the same.
    pub(crate) fn refused_late(&mut self, id: SessionId, outcome: Result<SignInStatus, Failure>) {
        let is_refusal = |failure: &Failure| failure.kind == FailureKind::Rejected;
        let Some(failure) = outcome.err().filter(is_refusal) else { return };
        self.propagate_refusal(id, &failure);
        let Some(mut session) = self.session_mut(id) else { return };
        if !session.established {
            return session.end(EndedReason::SignInFailed, Some(failure));
        }
        // What was changed while it was typed has not been refused.
        if session.typed == session.access.login {
            session.refused = true;
            session.note_refusal();
        }
        session.contents.attempt = session.contents.attempt.settled();
        session.touch();
    }

    /// The portal refused what a session typed: all who have the same are spared the try.
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

    /// A portal that answers one session answers all: those that wait because it did not need not wait any longer.
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

    /// The portal refused another session what this one would type.
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
