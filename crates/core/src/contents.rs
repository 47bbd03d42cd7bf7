//! The state of a session's window, which is dropped with the window. Its transitions are drawn in
//! [`crate::session`].

use crate::activity::Activity;
use crate::ids::Ticket;
use crate::time::Moment;

/// The measured memory of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) bytes: u64,
    /// Whether it was frozen when measured.
    pub(crate) is_still: bool,
}

/// The activity in an open window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ActivityState {
    #[default]
    Idle,
    /// This begins next, as soon as it may.
    Next(Activity),
    Running(Activity),
}

/// Whether the pages of an open window run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FreezeState {
    #[default]
    Running,
    /// They run, and are to be frozen once their state is saved.
    SavingFirst {
        /// Whether that is because memory is short.
        for_memory: bool,
    },
    Freezing {
        /// The ticket that the report repeats.
        ticket: Ticket,
    },
    Frozen {
        since: Moment,
    },
    Thawing {
        /// The ticket that the report repeats.
        ticket: Ticket,
    },
}

impl FreezeState {
    /// Returns whether an activity may run in the pages.
    pub(crate) fn runs(self) -> bool {
        matches!(self, Self::Running | Self::SavingFirst { .. })
    }

    pub(crate) fn is_frozen(self) -> bool {
        matches!(self, Self::Frozen { .. })
    }
}

/// The progress of a sign-in. No other one of its account is typed before its outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Attempt {
    /// None runs, and the outcome of each is known.
    #[default]
    None,
    /// It runs, even if no request waits for it any more.
    Running {
        /// Since when the portal may have heard of it.
        typed_at: Option<Moment>,
    },
    /// It has stopped, and its outcome is not known.
    Unknown { typed_at: Moment },
}

impl Attempt {
    pub(crate) fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    pub(crate) fn typed_at(self) -> Option<Moment> {
        match self {
            Self::None => None,
            Self::Running { typed_at } => typed_at,
            Self::Unknown { typed_at } => Some(typed_at),
        }
    }

    /// Returns the state once it has stopped.
    pub(crate) fn stopped(self) -> Self {
        self.typed_at().map_or(Self::None, |typed_at| Self::Unknown { typed_at })
    }

    /// Returns the state once its outcome is known.
    pub(crate) fn settled(self) -> Self {
        if self.is_running() { Self::Running { typed_at: None } } else { Self::None }
    }
}

/// Refreshes beside a page that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Beside {
    /// The one that runs.
    pub(crate) running: Option<Ticket>,
    /// Consecutive failures.
    pub(crate) failures: u32,
    /// None begins before this.
    pub(crate) not_before: Moment,
}

/// The saving of a session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Saves {
    /// When it is to be saved next.
    pub(crate) due: Option<Moment>,
    /// It is being saved.
    pub(crate) running: Option<Ticket>,
    /// It was saved since its window was opened.
    pub(crate) written: bool,
}

/// The state of a session's window, which is dropped with the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    pub(crate) activity: ActivityState,
    pub(crate) beside: Beside,
    pub(crate) freeze_state: FreezeState,
    /// It shows the session's page, so that its state is worth saving.
    pub(crate) restored: bool,
    pub(crate) saves: Saves,
    pub(crate) attempt: Attempt,
    /// Its last measured memory.
    pub(crate) weight: Option<Weight>,
    /// Since when its pages are being ended because they took more memory than a window may.
    pub(crate) oversized_since: Option<Moment>,
    /// Since when it is to be moved from a shared browser into one of its own.
    pub(crate) moves_out_since: Option<Moment>,
}
