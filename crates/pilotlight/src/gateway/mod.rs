//! The gateway: clients of the Chrome DevTools Protocol, each let in to the window of one session.
//!
//! Here is the IO alone: sockets, files, holds. What a client may see and do is decided in `pilotlight_gateway`.
//! A client that is here holds its session; with the client go the hold and everything that it had made.

mod client;
mod files;
mod peer;
mod visit;

use std::path::PathBuf;

use pilotlight_chromium::launch::RunAs;
use tokio_util::sync::CancellationToken;

pub use client::serve;
pub(crate) use files::sweep;
pub use files::{Downloaded, FileError, SessionFiles};
pub use peer::Peer;
pub use visit::Visit;

/// On what terms a client is here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// It is of our own user: its own files are its to give, and downloads are brought to it.
    pub is_own_user: bool,
    /// Downloads come to the session's folder without its asking.
    pub downloads: bool,
    /// It would empty the page that it finds before anybody uses it, and is kept from that.
    pub keeps_page: bool,
}

/// What all clients need.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Where sessions have their folders.
    pub folder: PathBuf,
    /// Who browsers run as, where it is not ourselves.
    pub run_as: Option<RunAs>,
    /// Ends all clients.
    pub stop: CancellationToken,
}

impl Gateway {
    /// The folder of a session, made where it is not there yet.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn files(&self, session: uuid::Uuid) -> Result<SessionFiles, FileError> {
        SessionFiles::open(&self.folder, session, self.run_as.as_ref())
    }
}
