//! The gateway: clients of the Chrome DevTools Protocol, each connected to the window of one session.
//!
//! This module only does I/O: sockets, files, holds. What a client may see and do is decided in `pilotlight_gateway`.
//! A connected client holds its session; when it disconnects, the hold ends, and everything that it created is
//! removed.

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

/// The terms of a client's connection.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Whether it is on this machine, and so may name files in the folders that are shared with its clients.
    pub locality: Locality,
    /// Whether downloads are delivered to the session's folder without a command of the client.
    pub downloads: bool,
    /// Whether only its session uses the browser's clipboard.
    pub has_clipboard: bool,
    /// Whether its first command to empty a page that is not in use yet is ignored.
    pub keeps_page: bool,
    /// See [`Gateway::client_idle_after`].
    pub idle_after: Option<Duration>,
}

/// What all clients need.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The folder of the sessions' folders.
    pub folder: PathBuf,
    /// The key that downloads are sealed with.
    pub files_key: FilesKey,
    /// The folders of the machine that clients may use.
    pub local: LocalFolders,
    /// After how long without a message a client counts as silent; `None` for never.
    pub client_idle_after: Option<Duration>,
    /// Disconnects all clients.
    pub stop: CancellationToken,
}

impl Gateway {
    /// Returns the folder of a session, which is created if necessary.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn files(&self, session: uuid::Uuid) -> Result<SessionFiles, FileError> {
        SessionFiles::open(&self.folder, session, &self.files_key, &self.local)
    }

    /// Returns the same, and gives the downloads in it to the user of the browser of the session's window. Blocks.
    ///
    /// # Errors
    /// If it cannot be created or given.
    pub fn files_of_window(&self, session: uuid::Uuid, window: &Window) -> Result<SessionFiles, FileError> {
        let files = self.files(session)?;
        if let Some(user) = window.browser_user() {
            files.give_downloads_to(user)?;
        }
        Ok(files)
    }

    /// Removes the files of sessions that no longer exist, and takes over the downloads of the others. Blocks.
    pub(crate) fn sweep(&self, keeper: &KeeperHandle, lives: impl Fn(uuid::Uuid) -> bool) {
        for session in files::sweep(&self.folder, lives) {
            match self.files(session) {
                Ok(files) => files.take_over(),
                Err(error) => {
                    tracing::debug!(session_id = %session, %error, "failed to take over downloads");
                }
            }
            self.take_downloads_back(keeper, session);
        }
    }

    /// Takes the downloads of a session without a window from the user of its last browser. Blocks.
    fn take_downloads_back(&self, keeper: &KeeperHandle, session: uuid::Uuid) {
        let has_window = || keeper.published(session).is_some_and(|session| session.window().is_some());
        if has_window() || !self.folder.join(session.to_string()).exists() {
            return;
        }
        let taken = self.files(session).and_then(|files| files.take_downloads_back(has_window));
        if let Err(error) = taken {
            tracing::warn!(session_id = %session, %error, "failed to take downloads from the user of a browser");
        }
    }

    /// Takes the downloads of each session back once its window is closed, until the server stops.
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
