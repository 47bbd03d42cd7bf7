//! Messages about the sign-in status, and the handling of pages that only look signed out.
//!
//! A suspicion may be wrong. A person is asked for help, but unlike when only a person can help
//! ([`Session::waits_for_person`]), the window is refreshed, frozen and moved like any other.

use crate::action::NoticeKind;
use crate::activity::{Activity, SignInStatus, Suspicion};
use crate::session::Session;
use crate::session_mut::SessionMut;
use crate::sign_in::{Check, SignIn};

impl Suspicion {
    /// Returns the message for a person.
    fn sentence(&self) -> String {
        match self {
            Self::PasswordField => "its page shows a password field: it looks signed out".to_owned(),
            Self::Moved { to } => format!("its page has moved to {to}: it looks signed out"),
        }
    }
}

impl Session {
    /// Returns whether a person is needed, without whom nothing can be done. A suspicion may be wrong: the session is
    /// handled like any other, apart from its message.
    pub(crate) fn waits_for_person(&self) -> bool {
        self.attention.is_some() && self.sign_in.suspicion().is_none()
    }

    /// Returns whether it is checked together with the refreshes, since a person may have signed it in. One that only
    /// looks signed out is checked once it was used: the look may have been that of a page that was loaded beside its
    /// own.
    pub(crate) fn is_looked_at(&self) -> bool {
        let was_used = self.contents.freeze_state.runs() && self.sign_in.checked_at() <= Some(self.last_used);
        self.rests() && self.attention.is_some() && (self.waits_for_person() || was_used)
    }
}

impl SessionMut<'_> {
    /// Records the status that an activity has found. Returns the earlier status.
    pub(crate) fn note_sign_in(&mut self, activity: Activity, status: &SignInStatus) -> SignIn {
        let (checked_at, by) = (self.now, Check::of(activity));
        let before = self.sign_in.clone();
        let found = match status {
            SignInStatus::SignedIn => SignIn::SignedIn { checked_at, by },
            // The rejection remains in effect.
            SignInStatus::SignedOut if self.refused && matches!(before, SignIn::Refused { .. }) => {
                SignIn::Refused { checked_at }
            }
            SignInStatus::SignedOut => SignIn::SignedOut { checked_at, by },
            // A client has opened a page that may be of another site, and shows nothing.
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

    /// Notes that it is signed out, and that its login was rejected.
    pub(crate) fn note_refusal(&mut self) {
        self.session.sign_in = SignIn::Refused { checked_at: self.now };
    }

    /// Notes that its page is loaded and looks signed out. It counts as ready all the same: a person is asked for
    /// help, unless it has never looked otherwise and was only loaded. `before` is the earlier status.
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
        // A check sends nothing to the portal, and postpones no refresh.
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
