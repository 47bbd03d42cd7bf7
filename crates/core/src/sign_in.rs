//! The sign-in status of a session: what was last seen, when, and by which check.
//!
//! It is shown to clients, is kept when the window is closed, and is stored.

use crate::activity::{Activity, Suspicion};
use crate::time::Moment;

/// The sign-in status of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SignIn {
    /// Its page was not checked yet.
    #[default]
    Unchecked,
    /// Its page was checked, but without conditions its status is unknown.
    Unknown {
        /// When it was checked.
        checked_at: Moment,
    },
    /// Signed in.
    SignedIn {
        /// When that was seen.
        checked_at: Moment,
        /// The kind of check.
        by: Check,
    },
    /// Signed out.
    SignedOut {
        /// When that was seen.
        checked_at: Moment,
        /// The kind of check.
        by: Check,
    },
    /// There are no conditions, and its page looks signed out.
    LooksSignedOut {
        /// When that was seen.
        checked_at: Moment,
        /// Why it looks signed out.
        because: Suspicion,
        /// Whether a person was asked for help. A page that has always looked like this may be about to be signed in.
        is_asked: bool,
    },
    /// Signed out, and the portal has rejected its login.
    Refused {
        /// When that was seen.
        checked_at: Moment,
    },
    /// Only a person can continue.
    PersonNeeded {
        /// When that was seen.
        checked_at: Moment,
        /// The kind of check.
        by: Check,
    },
}

/// What was done when the conditions of a site were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing else: the page was there, or was loaded.
    Conditions,
    /// A sign-in.
    SignIn,
    /// A refresh.
    Refresh,
}

impl Check {
    pub(crate) fn of(activity: Activity) -> Self {
        match activity {
            Activity::SignIn => Self::SignIn,
            Activity::Refresh | Activity::LoadDocument => Self::Refresh,
            Activity::Visit | Activity::Repair | Activity::Reopen | Activity::Look => Self::Conditions,
        }
    }
}

/// Returns the time of the last check, borrowed as the status is.
macro_rules! checked_at {
    ($status:expr) => {
        match $status {
            Self::Unchecked => None,
            Self::Unknown { checked_at }
            | Self::SignedIn { checked_at, .. }
            | Self::SignedOut { checked_at, .. }
            | Self::LooksSignedOut { checked_at, .. }
            | Self::Refused { checked_at }
            | Self::PersonNeeded { checked_at, .. } => Some(checked_at),
        }
    };
}

impl SignIn {
    /// Returns when the page was last checked.
    #[must_use]
    pub fn checked_at(&self) -> Option<Moment> {
        checked_at!(self).copied()
    }

    /// Returns the time of the last check, for a change.
    pub fn checked_at_mut(&mut self) -> Option<&mut Moment> {
        checked_at!(self)
    }

    /// Returns whether it was last seen signed out for certain, not only by its looks.
    pub(crate) fn is_seen_signed_out(&self) -> bool {
        matches!(self, Self::SignedOut { .. } | Self::Refused { .. } | Self::PersonNeeded { .. })
    }

    /// Returns why it looks signed out, if only its looks say so.
    #[must_use]
    pub fn suspicion(&self) -> Option<&Suspicion> {
        match self {
            Self::LooksSignedOut { because, .. } => Some(because),
            _ => None,
        }
    }

    /// Allows a rejected login to be tried again.
    pub(crate) fn forget_refusal(&mut self) {
        if let Self::Refused { checked_at } = *self {
            *self = Self::SignedOut { checked_at, by: Check::SignIn };
        }
    }
}
