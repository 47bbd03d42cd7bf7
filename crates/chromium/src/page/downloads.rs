//! Downloads: denied, except while a replay waits for one.
//!
//! The file is in the browser's own folder, which its user can change at any time while the server may be root. So
//! its path is opened folder by folder without following links, and only an ordinary file of that user is accepted.
//! Its name is removed before it is returned.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_cdp::protocol::browser::{
    CancelDownload, DownloadProgress, DownloadWillBegin, SetDownloadBehavior,
};
use pilotlight_cdp::{Scope, Subscription};
use pilotlight_flow::page::Download;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;

use crate::error::WindowError;
use crate::launch::TEMPORARY;
use crate::state::{Shard, WindowState};
use crate::window::{COMMAND_TIMEOUT, Window};

/// The largest file that is accepted, in bytes.
const DOWNLOAD_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long a file may take to arrive once its download has begun.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Events of all pages that may wait meanwhile.
const EVENTS_QUEUE: usize = 16_384;

/// Has Chromium deny the downloads of a window.
pub(crate) fn deny_downloads(window: &WindowState) -> SetDownloadBehavior {
    behavior(window, "deny", None)
}

fn behavior(window: &WindowState, behavior: &'static str, path: Option<String>) -> SetDownloadBehavior {
    SetDownloadBehavior { behavior, browser_context_id: window.id.as_str().into(), download_path: path }
}

/// A window that may download, for as long as this exists.
#[derive(Debug)]
pub struct Downloads {
    shard: Arc<Shard>,
    window: Arc<WindowState>,
    events: Subscription,
}

impl Drop for Downloads {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, deny) = (self.shard.connection.clone(), deny_downloads(&self.window));
        runtime.spawn(async move {
            if let Err(error) = connection.call_within(None, deny, COMMAND_TIMEOUT).await {
                tracing::debug!(%error, "failed to deny downloads again; the window may be closed");
            }
        });
    }
}

impl Downloads {
    pub(super) async fn watch(window: &Window) -> Result<Self, WindowError> {
        let (shard, state) = (Arc::clone(&window.shard), Arc::clone(&window.state));
        let folder = shard.folder.as_ref().ok_or_else(|| {
            refused("the browser was started by an earlier version, which does not say where its files are")
        })?;
        let path = folder.join(TEMPORARY).join(state.id.as_str());
        // Named by number: the portal's name of its file is not safe for the file system.
        let allow = behavior(&state, "allowAndName", Some(path.display().to_string()));
        let events = shard.connection.subscribe(Scope::All, EVENTS_QUEUE);
        shard.connection.call_within(None, allow, COMMAND_TIMEOUT).await?;
        Ok(Self { shard, window: state, events })
    }

    /// Returns the next file; `None` if no download begins within `timeout`.
    pub(super) async fn next(mut self, timeout: Duration) -> Result<Option<Download>, WindowError> {
        let Ok(begun) = tokio::time::timeout(timeout, self.begun()).await else { return Ok(None) };
        let DownloadWillBegin { guid, suggested_filename } = begun?;
        let ended = tokio::time::timeout(DOWNLOAD_TIMEOUT, self.ended(&guid)).await;
        if let Err(error) = ended.unwrap_or(Err(WindowError::Timeout(DOWNLOAD_TIMEOUT))) {
            let cancel = CancelDownload { guid, browser_context_id: self.window.id.as_str().into() };
            // It may be complete already.
            let _ = self.shard.connection.call_within(None, cancel, COMMAND_TIMEOUT).await;
            return Err(error);
        }
        let (shard, context) = (Arc::clone(&self.shard), self.window.id.as_str().to_owned());
        let taking = tokio::task::spawn_blocking(move || {
            let folder = shard.folder.as_deref().unwrap_or(Path::new("/"));
            take(folder, &[TEMPORARY, &context], &guid)
        });
        let (file, size) = taking
            .await
            .map_err(|error| refused(&error.to_string()))?
            .map_err(|error| refused(&format!("the file cannot be had: {error}")))?;
        Ok(Some(Download { suggested_name: suggested_filename, size, file }))
    }

    async fn begun(&mut self) -> Result<DownloadWillBegin, WindowError> {
        loop {
            let event = self.events.next().await.ok_or(WindowError::Closed)?;
            let of_window = event.session.as_ref().and_then(|session| self.shard.by_session(session));
            let is_ours = of_window.is_some_and(|(window, _)| Arc::ptr_eq(&window, &self.window));
            if let Some(begun) = event.read::<DownloadWillBegin>().filter(|_| is_ours) {
                return Ok(begun);
            }
        }
    }

    async fn ended(&mut self, guid: &str) -> Result<(), WindowError> {
        loop {
            let event = self.events.next().await.ok_or(WindowError::Closed)?;
            let Some(progress) = event.read::<DownloadProgress>().filter(|progress| progress.guid == guid)
            else {
                continue;
            };
            #[expect(clippy::cast_precision_loss, reason = "the limit is far below 2^53")]
            if progress.received_bytes > DOWNLOAD_BYTES_MAX as f64 {
                return Err(refused("the file is too large"));
            }
            match progress.state.as_str() {
                "completed" => return Ok(()),
                "canceled" => return Err(refused("the download was cancelled")),
                _ => {}
            }
        }
    }
}

/// Opens `name` in the folder at the end of `way`, which begins at `start`, checks that it is an ordinary file of the
/// owner of `start`, and removes its name. Returns its size, too. Blocks.
fn take(start: &Path, way: &[&str], name: &str) -> Result<(File, u64), Errno> {
    let is_plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !way.iter().chain([&name]).all(is_plain) {
        return Err(Errno::INVAL);
    }
    let folder = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut inner: OwnedFd = rustix::fs::open(start, folder, Mode::empty())?;
    let owner = fstat(&inner)?.st_uid;
    for part in way {
        inner = openat(&inner, *part, folder, Mode::empty())?;
    }
    // Without waiting for the other end, in case it is a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&inner, name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_ordinary = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if !is_ordinary || stat.st_uid != owner || stat.st_nlink != 1 || size > DOWNLOAD_BYTES_MAX {
        return Err(Errno::PERM);
    }
    unlinkat(&inner, name, AtFlags::empty())?;
    Ok((file.into(), size))
}

fn refused(reason: &str) -> WindowError {
    WindowError::Refused { command: "the download".into(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_taken_and_has_no_name_any_more() {
        let start = tempfile::tempdir().unwrap();
        fs::create_dir_all(start.path().join("t/C1")).unwrap();
        fs::write(start.path().join("t/C1/ab-1"), "content").unwrap();
        let (mut file, size) = take(start.path(), &["t", "C1"], "ab-1").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), size), ("content", 7));
        assert_eq!(take(start.path(), &["t", "C1"], "ab-1").unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn links_and_what_is_no_file_are_not_followed() {
        let start = tempfile::tempdir().unwrap();
        let inner = start.path().join("t/C1");
        fs::create_dir_all(&inner).unwrap();
        fs::write(start.path().join("secret"), "secret").unwrap();
        symlink(start.path().join("secret"), inner.join("link")).unwrap();
        fs::hard_link(start.path().join("secret"), inner.join("twin")).unwrap();
        symlink(start.path(), inner.join("folder")).unwrap();
        fs::create_dir(inner.join("empty")).unwrap();
        let way = &["t", "C1"];
        assert_eq!(take(start.path(), way, "link").unwrap_err(), Errno::LOOP);
        assert_eq!(take(start.path(), way, "twin").unwrap_err(), Errno::PERM);
        assert_eq!(take(start.path(), way, "empty").unwrap_err(), Errno::PERM);
        assert!(take(start.path(), &["t", "C1", "folder"], "secret").is_err());
        assert_eq!(take(start.path(), way, "../../secret").unwrap_err(), Errno::INVAL);
        assert!(start.path().join("secret").exists());
    }
}
