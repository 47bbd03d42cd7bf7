//! What is done in an open window, and its possible outcomes.

/// An activity in an open window. Only one runs at a time; it ends in a [`SignInStatus`] or a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Load the session's page, and restore its saved state.
    Visit,
    /// Load a document of its portal in a window that has the session's cookies and nothing else, save the cookies
    /// that changed, and find out the sign-in status from the document. The window is not used for anything else.
    LoadDocument,
    /// Load the page again after its renderer crashed or became unresponsive.
    Repair,
    /// Load the session's page in a window whose last page was closed.
    Reopen,
    /// Replay the site's sign-in flow.
    SignIn,
    /// Refresh the session in the way of its site, and check the sign-in status.
    Refresh,
    /// Check the sign-in status without changing anything.
    Look,
}

/// The sign-in status that a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInStatus {
    /// Signed in.
    SignedIn,
    /// Signed out.
    SignedOut,
    /// Its page is loaded but does not show the status: there are no conditions, or the page is not of its site.
    Unknown,
    /// The same, and its page looks signed out.
    LooksSignedOut(Suspicion),
    /// No page is loaded that could show it.
    ShowsNothing,
    /// Only a person can continue; the message says why.
    PersonNeeded(String),
}

/// Why a page without conditions looks signed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// It shows a password field.
    PasswordField,
    /// It was loaded again and led to another address.
    Moved {
        /// That address, without its query.
        to: String,
    },
}

/// Kinds of failure that are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The portal could not be reached or was too slow: retried without limit, with growing delays.
    Unreachable,
    /// The portal rejected the sign-in: a retry could lock the account.
    Rejected,
    /// The page was not as the flow expects: retried a few times.
    Unexpected,
    /// The same before anything was typed, so that the portal has received nothing: retried without limit, with
    /// growing delays.
    Untyped,
    /// The browser could not be started or failed to execute a command.
    Browser,
    /// The browser is not installed, is too old or refuses to start: a retry does not help a new session.
    BrowserMissing,
    /// What must be stored first could not be, so that nothing was done: retried without limit, with growing delays.
    Unrecorded {
        /// Whether the disk is full.
        is_full: bool,
    },
}

impl FailureKind {
    /// Returns whether the portal cannot have received a sign-in that ended this way.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Self::Unreachable | Self::Untyped | Self::Unrecorded { .. })
    }
}

/// A failure, with a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind, which decides what follows.
    pub kind: FailureKind,
    /// The message: one sentence, without secrets.
    pub sentence: String,
}
