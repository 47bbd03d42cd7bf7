//! Disk space that is reserved for records that must be written even if the disk is full: that a session has ended,
//! that a portal has rejected a sign-in, how an operation ended.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

/// Size of the reserve in bytes: enough for about a hundred records.
pub const RESERVE_BYTES: u64 = 1 << 20;
/// Delay before creating the reserve is retried.
const RETRY: Duration = Duration::from_secs(10);
/// Readable and writable for the owner only.
const OWNER_FILE: u32 = 0o600;

/// A file whose space can be released.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    is_there: bool,
    failed_at: Option<Instant>,
}

impl Reserve {
    /// Returns the reserve of the store at this path.
    pub(crate) fn of(store: &Path) -> Self {
        let mut name = OsString::from(store);
        name.push("-reserve");
        let path = PathBuf::from(name);
        let is_there = fs::symlink_metadata(&path).is_ok_and(|file| file.is_file());
        Self { path, is_there, failed_at: None }
    }

    /// Creates the reserve if it does not exist, unless this failed recently.
    pub(crate) fn keep(&mut self) {
        let failed_lately = self.failed_at.is_some_and(|at| at.elapsed() < RETRY);
        if self.is_there || failed_lately {
            return;
        }
        match self.make() {
            Ok(()) => {
                self.is_there = true;
                self.failed_at = None;
            }
            Err(error) => {
                tracing::debug!(%error, "failed to reserve space for the store");
                drop(fs::remove_file(&self.path));
                self.failed_at = Some(Instant::now());
            }
        }
    }

    fn make(&self) -> io::Result<()> {
        let file: File = OpenOptions::new().write(true).create_new(true).mode(OWNER_FILE).open(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        file.sync_all()
    }

    /// Releases the space. Returns whether there was any.
    pub(crate) fn give_up(&mut self) -> bool {
        let gave = std::mem::take(&mut self.is_there) && fs::remove_file(&self.path).is_ok();
        // The write that needed the space is retried first.
        self.failed_at = Some(Instant::now());
        gave
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_takes_room_until_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let mut reserve = Reserve::of(&store);
        assert!(!reserve.give_up(), "there was none yet");
        let mut reserve = Reserve::of(&store);
        reserve.keep();
        let file = fs::metadata(&reserve.path).unwrap();
        assert_eq!((file.len(), file.blocks() * 512 >= RESERVE_BYTES), (RESERVE_BYTES, true));
        let mut again = Reserve::of(&store);
        assert!(again.give_up() && !again.give_up());
        assert!(!again.path.exists());
    }
}
