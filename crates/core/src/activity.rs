//! What is done in an open window, and what can come of it.

/// Something that is done with an open window, one at a time, and ends in a [`SignInStatus`] or a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Load the session's page, with everything that was written down of it.
    Visit,
    /// Load a document of its portal in a window that has the session's cookies and nothing else, write down the cookies
    /// that this changed, and see from the document how it stands. The window is worth nothing else, whatever comes of it.
    LoadDocument,
    /// Load the page again after its renderer crashed or hung.
    Repair,
    /// Load the session's page where the window shows none, since its last page was closed.
    Reopen,
    /// Replay the site's sign-in flow.
    SignIn,
    /// Keep the sign-in alive, in the site's way, and check it.
    Refresh,
    /// Look whether it is signed in, touching nothing.
    Look,
}

/// How a window stands with its portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInStatus {
    /// Signed in.
    SignedIn,
    /// Signed out.
    SignedOut,
    /// Its page is there, and nothing tells: there are no conditions, or the page is not of its site.
    Unknown,
    /// The same, and its page looks signed out.
    LooksSignedOut(Suspicion),
    /// No page is shown that could tell.
    ShowsNothing,
    /// Only a person can go on; the sentence says why.
    PersonNeeded(String),
}

/// Why a page without conditions looks signed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// It shows a password field.
    PasswordField,
    /// It was loaded again and came to another address.
    Moved {
        /// Which: without its query.
        to: String,
    },
}

/// Kinds of failure that the rules treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The portal could not be reached or was too slow: worth repeating for ever, ever more slowly.
    Unreachable,
    /// The portal refused the sign-in: repeating it could lock the account.
    Rejected,
    /// The page was not as the flow expects: worth a few tries.
    Unexpected,
    /// The same before anything was typed, so that the portal has heard of nothing: worth repeating for ever, ever
    /// more slowly.
    Untyped,
    /// The browser could not be started or did not do what it was told.
    Browser,
    /// The browser is not installed, too old or refuses to start: trying again does not help a newcomer.
    BrowserMissing,
    /// What must be written down first could not be, so that nothing was done: worth repeating for ever, ever more
    /// slowly.
    Unrecorded {
        /// Whether room is all that is missing.
        is_full: bool,
    },
}

impl FailureKind {
    /// Returns whether the portal cannot have heard of a sign-in that ended so.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Self::Unreachable | Self::Untyped | Self::Unrecorded { .. })
    }
}

/// Something that did not work, with a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How to treat it.
    pub kind: FailureKind,
    /// One sentence, without secrets.
    pub sentence: String,
}
