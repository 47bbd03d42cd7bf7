//! What can go wrong with a browser and its windows.

use std::time::Duration;

use pilotlight_cdp::CdpError;
use pilotlight_flow::page::PageError;

use crate::find::FindError;
use crate::launch::LaunchError;
use crate::limits::CLIENTS_MAX;
use crate::proxy::ProxyError;
use crate::shim::ShimError;

/// Chromium's word where a navigation led to no document.
pub(crate) const ABORTED: &str = "net::ERR_ABORTED";

/// Why a browser did not come up. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not be launched.
    #[error("the browser could not be launched")]
    Launch(#[from] LaunchError),
    /// Its shim does not give it to us.
    #[error("the browser cannot be taken over")]
    Shim(#[from] ShimError),
    /// It is not one that we can use.
    #[error("the browser cannot be used")]
    Version(#[from] FindError),
    /// Chromium's sandbox is not possible here.
    #[error(
        "Chromium's sandbox is not possible on this machine: it needs user namespaces for ordinary users \
         (`sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu also `kernel.apparmor_restrict_unprivileged_userns=0`, \
         in containers a seccomp profile that allows them)"
    )]
    NoSandbox,
    /// It ended at once.
    #[error("the browser ended at its start ({status}){}", shown(stderr))]
    Exited {
        /// How.
        status: String,
        /// Its last words.
        stderr: Vec<String>,
    },
    /// It gave no sign of life.
    #[error("the browser did not answer within {} s{}", timeout.as_secs(), shown(stderr))]
    Timeout {
        /// How long was waited.
        timeout: Duration,
        /// Its last words.
        stderr: Vec<String>,
    },
    /// It answered with a refusal.
    #[error("the browser refused its set-up")]
    Refused(#[source] WindowError),
}

fn shown(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!("; it said: {}", lines.join(" | ")) }
}

/// Why a window of an adopted browser is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LostWindow {
    /// The browser does not know it.
    #[error("the window is no longer there")]
    Gone,
    /// Its last page was closed meanwhile, and no other could be opened.
    #[error("the window has no page any more")]
    Empty,
}

/// Why a window could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The window, the page or the browser is gone.
    #[error("the window is closed")]
    Closed,
    /// The page's renderer died; a reload brings it back.
    #[error("the page has crashed")]
    Crashed,
    /// The URL could not be loaded.
    #[error("{url} could not be loaded: {reason}")]
    Unreachable {
        /// Where to; without user information.
        url: String,
        /// Chromium's word, such as `net::ERR_CONNECTION_REFUSED`.
        reason: String,
    },
    /// A script threw.
    #[error("the script failed: {0}")]
    Script(String),
    /// Not done in time.
    #[error("the page did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// Not a URL that windows load.
    #[error("only http and https URLs and about:blank can be loaded")]
    Url,
    /// The proxy cannot be used.
    #[error("the proxy cannot be used")]
    Proxy(#[from] ProxyError),
    /// The page is there, but not the frame or popup that was asked for.
    #[error("{0}")]
    Missing(String),
    /// It has as many clients of the DevTools protocol as it may.
    #[error("the session has {} clients of the DevTools protocol, and may not have more", CLIENTS_MAX)]
    Full,
    /// Something else is in front of the element that is to be clicked.
    #[error("the element is covered by {0}")]
    Covered(String),
    /// Chromium refused the command.
    #[error("the browser refused {command}: {reason}")]
    Refused {
        /// The protocol's method.
        command: String,
        /// Chromium's word.
        reason: String,
    },
}

impl WindowError {
    /// Returns whether a navigation ended without another document: the answer had no body, or was a download.
    pub fn is_aborted(&self) -> bool {
        matches!(self, Self::Unreachable { reason, .. } if reason == ABORTED)
    }
}

impl From<WindowError> for PageError {
    fn from(error: WindowError) -> Self {
        match error {
            WindowError::Unreachable { url, reason } => Self::Unreachable { url, reason },
            WindowError::Script(message) => Self::Script(message),
            WindowError::Covered(by) => Self::Covered(by),
            WindowError::Timeout(timeout) => Self::Timeout(timeout),
            WindowError::Refused { command, reason } => Self::Refused { command, reason },
            WindowError::Url | WindowError::Proxy(_) | WindowError::Full => {
                Self::Refused { command: "the navigation".into(), reason: error.to_string() }
            }
            WindowError::Closed | WindowError::Crashed | WindowError::Missing(_) => {
                Self::Gone(error.to_string())
            }
        }
    }
}

impl From<CdpError> for WindowError {
    fn from(error: CdpError) -> Self {
        match error {
            CdpError::Closed => Self::Closed,
            CdpError::Timeout { timeout, .. } => Self::Timeout(timeout),
            CdpError::Remote { method, error } if is_loss(&error.message) => {
                tracing::debug!(method, "the page went while a command was under way");
                Self::Closed
            }
            CdpError::Remote { method, error } => Self::Refused { command: method, reason: error.message },
            other => Self::Refused { command: "the command".into(), reason: other.to_string() },
        }
    }
}

/// Chromium's words for a page that is no longer there.
fn is_loss(message: &str) -> bool {
    [
        "Session with given id not found",
        "Target closed",
        "No session with given id",
        "Session closed",
        "Inspected target navigated or closed",
    ]
    .iter()
    .any(|words| message.contains(words))
}
