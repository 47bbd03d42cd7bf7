//! The gateway: clients of the Chrome DevTools Protocol, each let in to the window of one session.
//!
//! Here is the IO alone: sockets, files, holds. What a client may see and do is decided in `pilotlight_gateway`.
//! A client that is here holds its session; with the client go the hold and everything that it had made.

mod client;
mod files;
mod intake;
mod kept;
mod local;
mod peer;
mod visit;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::Window;
use pilotlight_store::FilesKey;
use tokio_util::sync::CancellationToken;

use crate::keeper::KeeperHandle;

pub use client::serve;
pub use files::{FileError, SentFile, SessionFiles};
pub use kept::Downloaded;
pub use local::LocalFolders;
pub use peer::{Locality, Peer, Requests};
pub use visit::Visit;

/// On what terms a client is here.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Whether it is of this machine, and so may name files in the folders that are shared with its clients.
    pub locality: Locality,
    /// Downloads come to the session's folder without its asking.
    pub downloads: bool,
    /// The browser's clipboard is its session's alone.
    pub has_clipboard: bool,
    /// It would empty the page that it finds before anybody uses it, and is kept from that.
    pub keeps_page: bool,
    /// See [`Gateway::client_idle_after`].
    pub idle_after: Option<Duration>,
}

/// What all clients need.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Where sessions have their folders.
    pub folder: PathBuf,
    /// What downloads are sealed under.
    pub files_key: FilesKey,
    /// What of the machine clients may name.
    pub local: LocalFolders,
    /// After how long without a message a client counts as silent; `None` for never.
    pub client_idle_after: Option<Duration>,
    /// Ends all clients.
    pub stop: CancellationToken,
}

impl Gateway {
    /// The folder of a session, made where it is not there yet.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn files(&self, session: uuid::Uuid) -> Result<SessionFiles, FileError> {
        SessionFiles::open(&self.folder, session, &self.files_key, &self.local)
    }

    /// The same, with the downloads in it given to the user of the browser that has the session's window now. Blocks.
    ///
    /// # Errors
    /// Where it cannot be made or given.
    pub fn files_of_window(&self, session: uuid::Uuid, window: &Window) -> Result<SessionFiles, FileError> {
        let files = self.files(session)?;
        if let Some(user) = window.browser_user() {
            files.give_downloads_to(user)?;
        }
        Ok(files)
    }

    /// Removes what sessions left that are no more, and takes over what the others have downloaded. Blocks.
    pub(crate) fn sweep(&self, keeper: &KeeperHandle, lives: impl Fn(uuid::Uuid) -> bool) {
        for session in files::sweep(&self.folder, lives) {
            match self.files(session) {
                Ok(files) => files.take_over(),
                Err(error) => {
                    tracing::debug!(session_id = %session, %error, "its downloads stay as they are");
                }
            }
            self.take_downloads_back(keeper, session);
        }
    }

    /// Takes the downloads of a session without a window from the user of the browser that had it. Blocks.
    fn take_downloads_back(&self, keeper: &KeeperHandle, session: uuid::Uuid) {
        let has_window = || keeper.published(session).is_some_and(|session| session.window().is_some());
        if has_window() || !self.folder.join(session.to_string()).exists() {
            return;
        }
        let taken = self.files(session).and_then(|files| files.take_downloads_back(has_window));
        if let Err(error) = taken {
            tracing::warn!(session_id = %session, %error, "its downloads stay with the user of a browser");
        }
    }

    /// Takes the downloads of each session back once its window is gone, until the server stops.
    pub(crate) async fn follow_windows(self, keeper: KeeperHandle) {
        let (mut published, mut had_window) = (keeper.watch(), BTreeSet::new());
        let stop = self.stop.clone();
        while let Some(Ok(())) = stop.run_until_cancelled(published.changed()).await {
            let directory = Arc::clone(&published.borrow_and_update());
            let sessions = directory.sessions.iter().filter(|(_, session)| session.window().is_some());
            let have_window: BTreeSet<u128> = sessions.map(|(id, _)| *id).collect();
            let gone: Vec<_> =
                had_window.difference(&have_window).copied().map(uuid::Uuid::from_u128).collect();
            had_window = have_window;
            if !gone.is_empty() {
                let (gateway, keeper) = (self.clone(), keeper.clone());
                let take_back = move || gone.iter().for_each(|id| gateway.take_downloads_back(&keeper, *id));
                drop(tokio::task::spawn_blocking(take_back).await);
            }
        }
    }
}
