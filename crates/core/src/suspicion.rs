//! What is told of sign-ins, and what follows where a page only looks signed out.
//!
//! A suspicion may be wrong. A person is asked to see to it, but unlike where only a person helps
//! ([`Session::waits_for_person`]), the window is refreshed, frozen and moved as any other.

use crate::action::NoticeKind;
use crate::activity::{Activity, SignInStatus, Suspicion};
use crate::session::Session;
use crate::session_mut::SessionMut;
use crate::sign_in::{Check, SignIn};

impl Suspicion {
    /// Returns what a person is told.
    fn sentence(&self) -> String {
        match self {
            Self::PasswordField => "its page shows a password field: it looks signed out".to_owned(),
            Self::Moved { to } => format!("its page has moved to {to}: it looks signed out"),
        }
    }
}

impl Session {
    /// Returns whether a person is needed, and nothing else helps until one has come. A suspicion may be wrong: the
    /// session is treated as any other, and only says so.
    pub(crate) fn waits_for_person(&self) -> bool {
        self.attention.is_some() && self.sign_in.suspicion().is_none()
    }

    /// Returns whether it is looked at when refreshes are checked, since a person may have signed it in. One that only
    /// looks signed out is, once somebody has used it: it may look so in a page that was loaded beside its own.
    pub(crate) fn is_looked_at(&self) -> bool {
        let was_used = self.contents.freeze_state.runs() && self.sign_in.checked_at() <= Some(self.last_used);
        self.rests() && self.attention.is_some() && (self.waits_for_person() || was_used)
    }
}

impl SessionMut<'_> {
    /// Takes note of what an activity has found out. Returns what was known before.
    pub(crate) fn note_sign_in(&mut self, activity: Activity, status: &SignInStatus) -> SignIn {
        let (checked_at, by) = (self.now, Check::of(activity));
        let before = self.sign_in.clone();
        let found = match status {
            SignInStatus::SignedIn => SignIn::SignedIn { checked_at, by },
            // Nothing has changed about the refusal.
            SignInStatus::SignedOut if self.refused && matches!(before, SignIn::Refused { .. }) => {
                SignIn::Refused { checked_at }
            }
            SignInStatus::SignedOut => SignIn::SignedOut { checked_at, by },
            // A client has opened a page that may be of another site, and tells nothing.
            SignInStatus::Unknown if activity == Activity::Reopen && self.site.is_some() => return before,
            SignInStatus::Unknown => SignIn::Unknown { checked_at },
            SignInStatus::LooksSignedOut(because) => {
                let is_asked = matches!(before, SignIn::LooksSignedOut { is_asked: true, .. });
                SignIn::LooksSignedOut { checked_at, because: because.clone(), is_asked }
            }
            SignInStatus::PersonNeeded(_) => SignIn::PersonNeeded { checked_at, by },
            SignInStatus::ShowsNothing => return before,
        };
        std::mem::replace(&mut self.session.sign_in, found)
    }

    /// It is signed out, and what it would sign in with was refused.
    pub(crate) fn note_refusal(&mut self) {
        self.session.sign_in = SignIn::Refused { checked_at: self.now };
    }

    /// Its page is there and looks signed out. It stands all the same: a person is asked to see to it, unless it has
    /// never looked otherwise and was only loaded. `before` is what was known of it.
    pub(crate) fn looks_signed_out(&mut self, activity: Activity, suspicion: &Suspicion, before: &SignIn) {
        if activity == Activity::Visit && self.is_refreshed_after_visit() {
            return;
        }
        let is_refresh =
            activity == Activity::Refresh || (activity == Activity::Visit && self.has_refresh_window());
        let is_new = before.suspicion().is_none();
        let SignIn::LooksSignedOut { is_asked, .. } = &mut self.session.sign_in else { return };
        *is_asked |= self.session.established && (is_refresh || is_new);
        let asks = *is_asked;
        let sentence = suspicion.sentence();
        // A look changes nothing for the portal, and puts off no refresh.
        if activity != Activity::Look {
            self.is_fresh();
        }
        self.has_no_trouble();
        let was_asked = matches!(before, SignIn::LooksSignedOut { is_asked: true, .. });
        self.session.attention = asks.then(|| sentence.clone());
        if asks && !was_asked {
            self.announce(NoticeKind::SignedOut, &sentence);
        }
        self.session.why = sentence;
        self.has_come_to_rest();
    }
}
