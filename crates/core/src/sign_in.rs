//! How a session stands with its portal: what was last found out, when, and by what.
//!
//! This is what clients are told. It stays when the window goes, and outlives the rules.

use crate::activity::{Activity, Suspicion};
use crate::time::Moment;

/// What is known of a session's sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SignIn {
    /// Its page was not looked at yet.
    #[default]
    Unchecked,
    /// Its page was looked at, and without conditions nothing tells.
    Unknown {
        /// When it was.
        checked_at: Moment,
    },
    /// Signed in.
    SignedIn {
        /// When that was seen.
        checked_at: Moment,
        /// How.
        by: Check,
    },
    /// Signed out.
    SignedOut {
        /// When that was seen.
        checked_at: Moment,
        /// How.
        by: Check,
    },
    /// There are no conditions, and what its page shows looks signed out.
    LooksSignedOut {
        /// When that was seen.
        checked_at: Moment,
        /// Why it looks so.
        because: Suspicion,
        /// Whether a person was asked to see to it. One that never looked otherwise may be just about to be signed in.
        is_asked: bool,
    },
    /// Signed out, and the portal has refused what it would sign in with.
    Refused {
        /// When that was seen.
        checked_at: Moment,
    },
    /// Only a person can go on.
    PersonNeeded {
        /// When that was seen.
        checked_at: Moment,
        /// How.
        by: Check,
    },
}

/// What was done when the conditions of a site were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing beside: the page was there, or was loaded.
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

impl SignIn {
    /// Returns when the page was last looked at.
    #[must_use]
    pub fn checked_at(&self) -> Option<Moment> {
        match *self {
            Self::Unchecked => None,
            Self::Unknown { checked_at }
            | Self::SignedIn { checked_at, .. }
            | Self::SignedOut { checked_at, .. }
            | Self::LooksSignedOut { checked_at, .. }
            | Self::Refused { checked_at }
            | Self::PersonNeeded { checked_at, .. } => Some(checked_at),
        }
    }

    /// Returns the same, to be changed.
    pub fn checked_at_mut(&mut self) -> Option<&mut Moment> {
        match self {
            Self::Unchecked => None,
            Self::Unknown { checked_at }
            | Self::SignedIn { checked_at, .. }
            | Self::SignedOut { checked_at, .. }
            | Self::LooksSignedOut { checked_at, .. }
            | Self::Refused { checked_at }
            | Self::PersonNeeded { checked_at, .. } => Some(checked_at),
        }
    }

    /// Returns whether it was last seen signed out, by more than its looks.
    pub(crate) fn is_seen_signed_out(&self) -> bool {
        matches!(self, Self::SignedOut { .. } | Self::Refused { .. } | Self::PersonNeeded { .. })
    }

    /// Returns why it looks signed out where nothing but its looks tells.
    #[must_use]
    pub fn suspicion(&self) -> Option<&Suspicion> {
        match self {
            Self::LooksSignedOut { because, .. } => Some(because),
            _ => None,
        }
    }

    /// What was refused may be tried again.
    pub(crate) fn forget_refusal(&mut self) {
        if let Self::Refused { checked_at } = *self {
            *self = Self::SignedOut { checked_at, by: Check::SignIn };
        }
    }
}
