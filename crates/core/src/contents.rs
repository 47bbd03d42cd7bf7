//! What is so of a session's window only, and is gone with it. How its states follow from each other is drawn in
//! [`crate::session`].

use crate::activity::Activity;
use crate::ids::Ticket;
use crate::time::Moment;

/// What a window was found to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) bytes: u64,
    /// Whether it stood still then.
    pub(crate) is_still: bool,
}

/// What happens in an open window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ActivityState {
    #[default]
    Idle,
    /// This comes next, once it may.
    Next(Activity),
    Running(Activity),
}

/// Whether the pages of an open window run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FreezeState {
    #[default]
    Running,
    /// They run, and are to freeze once their state is written down.
    SavingFirst {
        /// Whether that is because memory is short.
        for_memory: bool,
    },
    Freezing {
        /// To be reported back.
        ticket: Ticket,
    },
    Frozen {
        since: Moment,
    },
    Thawing {
        /// To be reported back.
        ticket: Ticket,
    },
}

impl FreezeState {
    /// Returns whether something may be done in the pages.
    pub(crate) fn runs(self) -> bool {
        matches!(self, Self::Running | Self::SavingFirst { .. })
    }

    pub(crate) fn is_frozen(self) -> bool {
        matches!(self, Self::Frozen { .. })
    }
}

/// How far a sign-in has come. No other one of its account is typed before its outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Attempt {
    /// None runs, and the outcome of each is known.
    #[default]
    None,
    /// It runs, even if nobody waits for it any more.
    Running {
        /// Since when the portal may have heard of it.
        typed_at: Option<Moment>,
    },
    /// It runs no more, and its outcome is not known.
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

    /// Returns what it is once nothing of it runs any more.
    pub(crate) fn stopped(self) -> Self {
        self.typed_at().map_or(Self::None, |typed_at| Self::Unknown { typed_at })
    }

    /// Returns what it is once its outcome is known.
    pub(crate) fn settled(self) -> Self {
        if self.is_running() { Self::Running { typed_at: None } } else { Self::None }
    }
}

/// Refreshes beside the page that somebody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Beside {
    /// The one that runs.
    pub(crate) running: Option<Ticket>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// None begins before this.
    pub(crate) not_before: Moment,
}

/// How a session stands with what is written down of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Saves {
    /// When it is to be written down next.
    pub(crate) due: Option<Moment>,
    /// It is being written down.
    pub(crate) running: Option<Ticket>,
    /// It was written down since its window was opened.
    pub(crate) written: bool,
}

/// What is so of a session's window only, and is gone with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    pub(crate) activity: ActivityState,
    pub(crate) beside: Beside,
    pub(crate) freeze_state: FreezeState,
    /// It shows what it is to show, so that its state is worth writing down.
    pub(crate) restored: bool,
    pub(crate) saves: Saves,
    pub(crate) attempt: Attempt,
    /// What it was last found to take.
    pub(crate) weight: Option<Weight>,
    /// Since when its pages are being ended, where they took more than a window may.
    pub(crate) oversized_since: Option<Moment>,
    /// Since when it is to go from a browser with others into one of its own.
    pub(crate) moves_out_since: Option<Moment>,
}
