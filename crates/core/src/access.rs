//! With what sessions are signed in, and what a portal's refusal of it means for all who share it.
//!
//! A login that was refused is typed once and never again unasked: not by another session that has the same, nor
//! by the next server. For that, a sign-in is written down before it is typed ([`Session::tried_at`]); what came
//! of it is seen in its window, even where the server died meanwhile.

use crate::action::{EndedReason, NoticeKind};
use crate::ids::{SessionId, Ticket};
use crate::input::{Access, Activity, Failure};
use crate::rules::Rules;
use crate::session::{Doing, Session, Window};
use crate::time::Moment;

impl Session {
    /// Its sign-in may be tried again: somebody asked for it.
    pub(crate) fn forgive(&mut self) {
        self.refused = false;
        self.vain_sign_ins = 0;
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
            let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ended.is_none()) else {
                continue;
            };
            session.access = access;
            self.touch(id);
            let Some(session) = self.sessions.get_mut(&id).filter(|_| access.can_sign_in) else { continue };
            let waits = session.refused && session.attention.is_some();
            session.forgive();
            if !waits {
                continue;
            }
            session.attention = None;
            session.failures = 0;
            session.not_before = now;
            "its credential was changed".clone_into(&mut session.why);
            let at_rest = matches!(session.doing, Doing::Nothing | Doing::Next(Activity::Look));
            if at_rest && matches!(session.window, Window::Open(_)) {
                session.doing = Doing::Next(Activity::SignIn);
            }
        }
    }

    /// The portal refused what a session typed: all who have the same are spared the try.
    pub(crate) fn share_refusal(&mut self, id: SessionId, failure: &Failure, now: Moment) {
        let Some(login) = self.sessions.get(&id).and_then(|session| session.typed) else { return };
        let has_the_same = |other: &&Session| other.id != id && other.access.login == Some(login);
        let others: Vec<SessionId> = self.living().filter(has_the_same).map(|other| other.id).collect();
        for other in others {
            let Some(session) = self.sessions.get_mut(&other) else { continue };
            if !session.established {
                self.end(other, EndedReason::SignInFailed, Some(failure.clone()), now);
                continue;
            }
            session.refused = true;
            let waits = session.doing == Doing::Next(Activity::SignIn);
            self.touch(other);
            let Some(session) = self.sessions.get_mut(&other).filter(|_| waits) else { continue };
            session.doing = Doing::Nothing;
            session.attention = Some(failure.sentence.clone());
            session.recovering = false;
            self.announce(other, NoticeKind::SignInFailed, &failure.sentence);
            self.tell_askers(other, &Err(failure.clone()));
        }
    }

    /// A portal that answers one session answers all: those that wait because it did not need not wait any longer.
    pub(crate) fn portal_answers(&mut self, id: SessionId, now: Moment) {
        let Some(site) = self.sessions.get(&id).and_then(|session| session.site) else { return };
        let spread = u64::try_from(self.limits.return_spread.as_millis()).unwrap_or(u64::MAX).max(1);
        for session in self.sessions.values_mut() {
            if session.site == Some(site) && std::mem::take(&mut session.unreachable) {
                let soon = now + std::time::Duration::from_millis(self.jitter.next() % spread);
                session.not_before = session.not_before.min(soon);
            }
        }
    }
}
